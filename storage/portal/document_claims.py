"""Claims on documents. A claim is a lease with a token.

Every function that ends one names the token, so a caller with a stale one changes nothing. The
job's row is locked first, always: under it claims are counted, revisions are taken and the end is
decided.
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
    """A claim on a document: whoever names the token holds it."""

    job_id: UUID
    document_id: UUID
    lease: UUID

    @property
    def slot_token(self) -> UUID:
        """Return the token that holds the slots of its request."""
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
    # The token of its slice, which holds the slots.
    slice_token: UUID | None = None

    @property
    def slot_token(self) -> UUID:
        """Return the token that holds the slots of its request."""
        return self.slice_token or self.lease


@dataclass(frozen=True, slots=True)
class CheckedFile(DocumentLease):
    """A checked file, to be stored under a key that holds its hash.

    `is_fresh`: it has just been fetched, and its row does not say so yet.
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
    is_fresh: bool = False
    # The token of the slice that fetched it, which held the slots.
    slice_token: UUID | None = None

    @property
    def slot_token(self) -> UUID:
        """Return the token that held the slots of its request."""
        return self.slice_token or self.lease


@dataclass(frozen=True, slots=True)
class CheckedContent:
    """What a file turned out to be. `is_doubtful`: nothing but itself supports it."""

    size_bytes: int
    sha256: str
    content_type: str
    extension: str
    is_doubtful: bool = False


def unrecorded_file(claim: DocumentClaim, content: CheckedContent) -> CheckedFile:
    """A file to be stored before its row is told that it was fetched."""
    return replace(spooled_file(claim, content, claim.claim_time), is_fresh=True)


def spooled_file(claim: DocumentClaim, content: CheckedContent, take_time: datetime) -> CheckedFile:
    """Return what is to be stored of a fetched file; `take_time`: when a sweep may not be later."""
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
        take_time=take_time,
        traceparent=claim.traceparent,
        slice_token=claim.slice_token,
    )


def retake_for_upload(database: Database, file: CheckedFile) -> CheckedFile | None:
    """The same file, as taken now, so that what a sweep did before does not count; None: lost."""
    query = (
        Document.select(fn.clock_timestamp())
        .join(Job)
        .where(Document.lease == file.lease, Job.end_time.is_null())
    )
    with database.single() as transaction:
        row = transaction.fetch_one(query.tuples())
    return replace(file, take_time=row[0]) if row else None
