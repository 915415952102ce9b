"""Claims on documents. A claim is a lease with a token.

Every function that ends a claim names its token, so a caller with an old token changes nothing.
Every function locks the job's row first. Claims are counted, revisions are taken and the end of the
job is decided under that lock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from peewee import fn

from storage.models import Document, Job
from storage.postgres.database import Database


@dataclass(frozen=True, slots=True)
class DocumentLease:
    """A claim on a document. The token `lease` identifies its holder."""

    job_id: UUID
    document_id: UUID
    lease: UUID

    @property
    def slot_token(self) -> UUID:
        """Return the token that holds the slots of the claim's request."""
        return self.lease


@dataclass(frozen=True, slots=True)
class DocumentClaim(DocumentLease):
    """A document that this worker may fetch while its lease holds."""

    client: str
    process_number: str
    name: str
    href: str
    listed_size_bytes: int | None
    listed_content_type: str | None
    claim_time: datetime
    traceparent: str | None = None
    # The token of the document's slice, which holds the slots.
    slice_token: UUID | None = None

    @property
    def slot_token(self) -> UUID:
        """Return the token that holds the slots of the claim's request."""
        return self.slice_token or self.lease


@dataclass(frozen=True, slots=True)
class CheckedFile(DocumentLease):
    """A checked file that is to be stored under a key that contains its hash.

    If a sweep deletes the object after `take_time`, the file is LOST.
    """

    client: str
    process_number: str
    name: str
    size_bytes: int
    sha256: str
    content_type: str
    extension: str
    pause_count: int
    take_time: datetime
    traceparent: str | None = None
    # The token of the slice that fetched the file; it held the slots.
    slice_token: UUID | None = None

    @property
    def slot_token(self) -> UUID:
        """Return the token that held the slots of the file's request."""
        return self.slice_token or self.lease


@dataclass(frozen=True, slots=True)
class CheckedContent:
    """The result of the checks of a file.

    `is_doubtful`: no second source confirms the content. `may_be_message`: it is doubtful because
    messages in place of a document come in its kind, too, not only because its end is unknown.
    """

    size_bytes: int
    sha256: str
    content_type: str
    extension: str
    is_doubtful: bool = False
    may_be_message: bool = False


def unrecorded_file(claim: DocumentClaim, content: CheckedContent) -> CheckedFile:
    """Return the file to store, before its row records that it was fetched."""
    return CheckedFile(
        job_id=claim.job_id,
        document_id=claim.document_id,
        lease=claim.lease,
        client=claim.client,
        process_number=claim.process_number,
        name=claim.name,
        size_bytes=content.size_bytes,
        sha256=content.sha256,
        content_type=content.content_type,
        extension=content.extension,
        pause_count=0,
        take_time=claim.claim_time,
        traceparent=claim.traceparent,
        slice_token=claim.slice_token,
    )


def retake_for_upload(database: Database, file: CheckedFile) -> CheckedFile | None:
    """Return the file with a new take time, so that earlier sweeps do not matter.

    Return None if the claim is lost.
    """
    query = (
        Document.select(fn.clock_timestamp())
        .join(Job)
        .where(Document.lease == file.lease, Job.end_time.is_null())
    )
    with database.autocommit() as transaction:
        row = transaction.fetch_one(query.tuples())
    return replace(file, take_time=row[0]) if row else None
