"""Documents as callers read them: one, or a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from storage.errors import NotFound
from storage.models import Document, Job
from storage.models.base import fields_of, is_any
from storage.postgres.database import Database, Row, Transaction
from storage.records import DocumentRecord

_RECORDS = Document.select(*fields_of(Document, DocumentRecord))


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """The documents of a job to list, and the last position of the previous page."""

    job_id: UUID
    states: tuple[str, ...] = ()
    after_position: int = -1


def page(
    database: Database, client: str, wanted: DocumentFilter, size: int
) -> tuple[list[DocumentRecord], int | None]:
    """Return up to `size` documents in the order of the case file, and the case's secrecy level.

    Raises NotFound for the job.
    """
    with database.autocommit() as transaction:
        job = _job(transaction, client, wanted.job_id)
        query = _RECORDS.where(_is_of(job), Document.position > wanted.after_position)
        if wanted.states:
            query = query.where(is_any(Document.state, wanted.states))
        rows = transaction.fetch(query.order_by(Document.position).limit(size).dicts())
    return [_record(job, row) for row in rows], job["secrecy_level"]


def get(
    database: Database, client: str, job_id: UUID, document_id: UUID
) -> tuple[DocumentRecord, int | None]:
    """Return a document and the secrecy level of its case. Raises NotFound."""
    with database.autocommit() as transaction:
        job = _job(transaction, client, job_id)
        query = _RECORDS.where(_is_of(job), Document.document_id == document_id)
        row = transaction.fetch_one(query.dicts())
    if row is None:
        raise NotFound("document", str(document_id))
    return _record(job, row), job["secrecy_level"]


def _job(transaction: Transaction, client: str, job_id: UUID) -> Row:
    """Return the job, if it is this client's. Raises NotFound."""
    own = Job.select(Job.job_id, Job.documents_of, Job.secrecy_level).where(
        Job.job_id == job_id, Job.client == client
    )
    job: Row | None = transaction.fetch_one(own.dicts())
    if job is None:
        raise NotFound("job", str(job_id))
    return job


def _is_of(job: Row) -> Any:
    return Document.job_id == (job["documents_of"] or job["job_id"])


def _record(job: Row, row: Mapping[str, Any]) -> DocumentRecord:
    """Return a document as one of `job`, which made no attempts if the row is of another job."""
    attempts = row["attempt_count"] if job["documents_of"] is None else 0
    return DocumentRecord.of({**row, "job_id": job["job_id"], "attempt_count": attempts})
