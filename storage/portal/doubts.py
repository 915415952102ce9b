"""Doubtful answers: content that is text, has no known format or end, or came before in the case.

The listing does not give the size of such a document. Portals, firewalls and proxies send texts of
their own with status 200, in any language. So one such answer proves nothing. Its SHA-256 is stored
in the document's row, and the document is requested again, later and over another connection. The
same bytes confirm the content. If other documents of the case got the same bytes, too, a text is
refused: it is likely to be an error page. A document that is stored that way is `unverified`.

sql/jobs/end_job.sql marks what is left: files with the same bytes that were fetched together.
"""

from __future__ import annotations

from typing import Any

from peewee import fn

from storage.errors import Doubted, LeaseLost
from storage.models import Document
from storage.portal.document_claims import CheckedContent, DocumentClaim
from storage.portal.retries import RetryPolicy
from storage.postgres.database import Database

# At most this many documents of a case may share one text: a court may issue the same line twice. A
# text that more documents share is an error page.
ALIKE_MAX = 3


def weigh(
    database: Database, claim: DocumentClaim, content: CheckedContent, policy: RetryPolicy
) -> None:
    """Return if `content` may be stored as the document of `claim`.

    Raises Doubted if the document must be requested again, LeaseLost if the claim has ended.
    """
    with database.autocommit() as transaction:
        row = transaction.fetch_one(_known(claim, content.sha256))
    if row is None:
        raise LeaseLost("The claim on this document is over.")
    if not (content.is_doubtful or row["alike"]):
        return
    if row["doubted_sha256"] is None:
        raise Doubted("Nothing confirms that this is the document.", content.sha256, is_first=True)
    if row["doubted_sha256"] != content.sha256:
        raise Doubted("The portal sent a different file than before.", content.sha256)
    if not (content.may_be_message and row["alike"]):
        return
    doubt = Doubted(
        "The portal sent the same text for several documents.", content.sha256, is_few=True
    )
    attempts_made = row["href_attempt_count"] + 1
    is_last = policy.delay_s(doubt, attempts_made=attempts_made) is None and not row["has_twin"]
    if not is_last or row["alike"] >= ALIKE_MAX:
        raise doubt


def _known(claim: DocumentClaim, sha256: str) -> Any:
    """Select the state of the document's doubt, and the number of documents with the same bytes.

    Only documents of the same case count. The same document in another instance does not count.
    """
    other = Document.alias("other")
    alike = other.select(fn.count(other.document_id)).where(
        other.job_id == Document.job_id,
        other.document_id != Document.document_id,
        other.origin_id != Document.origin_id,
        (other.sha256 == sha256) | (other.doubted_sha256 == sha256),
    )
    return (
        Document.select(
            Document.doubted_sha256,
            Document.href_attempt_count,
            (Document.href_index + 1 < fn.cardinality(Document.hrefs)).alias("has_twin"),
            alike.alias("alike"),
        )
        .where(
            Document.lease == claim.lease,
            Document.job_id == claim.job_id,
            Document.document_id == claim.document_id,
        )
        .dicts()
    )
