"""Documents as callers read them: one, or a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from storage.errors import NotFound
from storage.models import Document, Job
from storage.models.base import fields_of, is_any
from storage.postgres.database import Database, Transaction
from storage.records import DocumentRecord

_FIELDS = fields_of(Document, DocumentRecord)


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
    query = _of_client(client, wanted.job_id).where(Document.position > wanted.after_position)
    if wanted.states:
        query = query.where(is_any(Document.state, wanted.states))
    with database.transaction() as transaction:
        rows = transaction.fetch(query.order_by(Document.position).limit(size).dicts())
        if not rows:
            _require_job(transaction, client, wanted.job_id)
    case_level: int | None = rows[0]["case_level"] if rows else None
    return [DocumentRecord.of(row) for row in rows], case_level


def get(
    database: Database, client: str, job_id: UUID, document_id: UUID
) -> tuple[DocumentRecord, int | None]:
    """Return a document and the secrecy level of its case. Raises NotFound."""
    query = _of_client(client, job_id).where(Document.document_id == document_id)
    with database.transaction() as transaction:
        row = transaction.fetch_one(query.dicts())
        if row is None:
            _require_job(transaction, client, job_id)
            raise NotFound("document", str(document_id))
    return DocumentRecord.of(row), row["case_level"]


def _of_client(client: str, job_id: UUID) -> Any:
    """Return the query for the documents of a job, empty unless the job is this client's."""
    return (
        Document.select(*_FIELDS, Job.secrecy_level.alias("case_level"))
        .join(Job)
        .where(Document.job_id == job_id, Job.client == client)
    )


def _require_job(transaction: Transaction, client: str, job_id: UUID) -> None:
    own = Job.select(Job.job_id).where(Job.job_id == job_id, Job.client == client)
    if transaction.fetch_one(own) is None:
        raise NotFound("job", str(job_id))
