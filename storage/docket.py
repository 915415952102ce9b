"""The docket: the documents of a case as the portal lists them, put into a job's rows at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.database import Row, Transaction
from storage.ending import end_if_over
from storage.errors import Failure
from storage.listing import CaseListing, ListedDocument, document_id
from storage.states import DocumentState
from storage.tallies import DOCUMENTS_ENDED, REUSED

REFUSALS = {
    "UNTRUSTED_LINK": "The portal lists this document under a link that is not its own.",
    "NO_LINK": "The portal lists this document without a link to its file.",
}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that the bucket already holds for a document."""

    object_key: str
    size_bytes: int
    sha256: str
    content_type: str
    extension: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One document of a docket, with the object that can be carried over, if any."""

    document_id: UUID
    listed: ListedDocument
    stored: StoredObject | None = None

    @property
    def refusal(self) -> Failure | None:
        """Why this document is not asked for at all."""
        if self.listed.hrefs:
            return None
        reason = self.listed.refused_reason or "NO_LINK"
        return Failure(reason, REFUSALS[reason], False)


@dataclass(frozen=True, slots=True)
class Docket:
    """A case as listed at `listed_time` by the portal (None: now).

    `doubt_time`: when an earlier answer was doubted, so that the portal was asked once more.
    """

    secrecy_level: int | None
    entries: tuple[Entry, ...]
    listed_time: datetime | None = None
    doubt_time: datetime | None = None

    @classmethod
    def of(cls, client: str, process_number: str, listing: CaseListing) -> Docket:
        """The docket of a listing, nothing carried over yet."""
        return cls(
            listing.secrecy_level,
            tuple(
                Entry(document_id(client, process_number, d.instance, d.origin_id), d)
                for d in listing.documents
            ),
        )

    def carrying(self, stored: dict[UUID, StoredObject]) -> Docket:
        """The same docket with what is stored already."""
        return replace(
            self,
            entries=tuple(replace(e, stored=stored.get(e.document_id)) for e in self.entries),
        )

    @property
    def is_all_stored(self) -> bool:
        """Whether nothing is left to be fetched."""
        return all(entry.stored for entry in self.entries)


# One statement whatever the number of documents, so that half a listing is never seen.
INSERT = """
INSERT INTO documents (job_id, document_id, position, name, kind, sequence, instance,
    filed_local_time, secrecy_level, hrefs, listed_size_bytes, listed_content_type, state,
    revision, content_type, extension, size_bytes, sha256, object_key, is_reused,
    error_reason, error_message, error_is_retryable, origin_id)
SELECT %(job_id)s, document_id, position, name, kind, sequence, instance, filed_local_time,
    secrecy_level, hrefs, listed_size_bytes, listed_content_type, state,
    %(revision)s + 1 + position, content_type, extension, size_bytes, sha256, object_key,
    is_reused, reason, message, is_retryable, origin_id
FROM jsonb_to_recordset(%(rows)s::jsonb) AS t(document_id uuid, position integer, name text,
    kind text, sequence integer, instance text, filed_local_time text, secrecy_level text,
    hrefs text[], listed_size_bytes bigint, listed_content_type text, state text,
    content_type text, extension text, size_bytes bigint, sha256 text, object_key text,
    is_reused boolean, reason text, message text, is_retryable boolean, origin_id text)
"""

# The job of the case that the same client listed last, before the one that is listed now.
EARLIER = """
SELECT job_id FROM jobs WHERE client = %(client)s AND process_number = %(process_number)s
    AND listed_time IS NOT NULL
ORDER BY listed_time DESC, create_time DESC, job_id DESC LIMIT 1
"""

# How many document_id of what has vanished a job names.
VANISHED_IDS = 100

COUNT = f"""
WITH vanished AS (
    SELECT document_id, position FROM documents AS earlier
    WHERE job_id = ({EARLIER}) AND NOT EXISTS (SELECT FROM documents
        WHERE job_id = %(job_id)s AND document_id = earlier.document_id))
UPDATE jobs SET revision = revision + %(total)s + 1, update_time = clock_timestamp(),
    total_documents = %(total)s, completed_documents = %(completed)s,
    reused_documents = %(completed)s, failed_documents = %(failed)s,
    stored_bytes = %(stored_bytes)s, secrecy_level = %(secrecy_level)s,
    listed_time = coalesce(%(listed_time)s, clock_timestamp()), state = 'PROCESSING',
    start_time = coalesce(start_time, clock_timestamp()),
    listing_doubt_time = coalesce(listing_doubt_time, %(doubt_time)s),
    vanished_documents = (SELECT count(*) FROM vanished),
    vanished_document_ids = ARRAY(
        SELECT document_id FROM vanished ORDER BY position LIMIT {VANISHED_IDS}),
    listing_lease = NULL, listing_lease_until = NULL, listing_not_before = NULL
WHERE job_id = %(job_id)s AND state IN ('PENDING', 'PROCESSING')
RETURNING *
"""


# What INSERT and COUNT take beside the job, with their types.
GIVEN = {
    "rows": "jsonb",
    "total": "integer",
    "completed": "integer",
    "failed": "integer",
    "stored_bytes": "bigint",
    "secrecy_level": "integer",
    "listed_time": "timestamptz",
    "doubt_time": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows that a docket makes, and what they come to."""

    rows: Sequence[Row]
    stored_bytes: int
    docket: Docket

    @classmethod
    def of(cls, docket: Docket) -> Drawn:
        """The rows of a docket."""
        stored = [entry.stored for entry in docket.entries if entry.stored]
        return cls(
            [_row(position, entry) for position, entry in enumerate(docket.entries)],
            sum(s.size_bytes for s in stored),
            docket,
        )

    @property
    def to_fetch(self) -> int:
        """How many documents are to be fetched."""
        return self._count(DocumentState.PENDING)

    @property
    def given(self) -> dict[str, Any]:
        """The values of GIVEN."""
        return {
            "rows": json.dumps(self.rows),
            "total": len(self.rows),
            "completed": self._count(DocumentState.AVAILABLE),
            "failed": self._count(DocumentState.FAILED),
            "stored_bytes": self.stored_bytes,
            "secrecy_level": self.docket.secrecy_level,
            "listed_time": self.docket.listed_time,
            "doubt_time": self.docket.doubt_time,
        }

    def _count(self, state: DocumentState) -> int:
        return sum(row["state"] == state for row in self.rows)

    def ended(self) -> Iterator[tuple[str, str]]:
        """What became of those that are over: state and cause of each."""
        for row in self.rows:
            if row["state"] == DocumentState.AVAILABLE:
                yield DocumentState.AVAILABLE, REUSED
            elif row["state"] == DocumentState.FAILED:
                yield DocumentState.FAILED, row["reason"]


def insert(transaction: Transaction, job: Row, drawn: Drawn) -> Row:
    """Gives `job`, whose lock is held, its documents; ends it when nothing is left to fetch.

    Says which documents of the client's listing before are gone. Returns the job as it then is.
    """
    given = drawn.given
    transaction.run(INSERT, job_id=job["job_id"], revision=job["revision"], rows=given.pop("rows"))
    listed = transaction.only(
        COUNT,
        job_id=job["job_id"],
        client=job["client"],
        process_number=job["process_number"],
        **given,
    )
    for state, cause in drawn.ended():
        transaction.count(DOCUMENTS_ENDED, state, cause)
    transaction.changed(listed["job_id"], listed["revision"])
    return end_if_over(transaction, listed)


def _row(position: int, entry: Entry) -> Row:
    listed, stored = entry.listed, entry.stored
    refusal = None if stored else entry.refusal
    state = DocumentState.PENDING
    if stored:
        state = DocumentState.AVAILABLE
    elif refusal:
        state = DocumentState.FAILED
    return {
        "document_id": str(entry.document_id),
        # Without one, the listing was first recorded by a release that did not keep it.
        "origin_id": listed.origin_id or None,
        "position": position,
        "name": listed.name,
        "kind": listed.kind,
        "sequence": listed.sequence,
        "instance": listed.instance,
        "filed_local_time": listed.filed_local_time,
        "secrecy_level": listed.secrecy_level,
        "hrefs": list(listed.hrefs),
        "listed_size_bytes": listed.listed_size_bytes,
        "listed_content_type": listed.listed_content_type,
        "state": state,
        "is_reused": stored is not None,
        **(asdict(stored) if stored else {}),
        **(asdict(refusal) if refusal else {}),
    }


def entries_of(client: str, process_number: str, rows: Sequence[Row]) -> tuple[Entry, ...]:
    """The entries for `client` of an earlier job's document rows, in their order.

    Rows without origin_id, from a release that did not keep it, must be of a job of this client.
    """
    return tuple(
        Entry(
            document_id(client, process_number, row["instance"], row["origin_id"])
            if row["origin_id"]
            else row["document_id"],
            ListedDocument(
                instance=row["instance"],
                origin_id=row["origin_id"] or "",
                name=row["name"],
                kind=row["kind"],
                sequence=row["sequence"],
                filed_local_time=row["filed_local_time"],
                secrecy_level=row["secrecy_level"],
                hrefs=tuple(row["hrefs"]),
                listed_size_bytes=row["listed_size_bytes"],
                listed_content_type=row["listed_content_type"],
                refused_reason=None if row["hrefs"] else row["error_reason"],
            ),
        )
        for row in rows
    )
