"""Documents as callers read them: one, or a page."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from storage.database import Database, Transaction
from storage.errors import NotFound
from storage.records import DocumentRecord, columns

_COLUMNS = columns(DocumentRecord)


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """Which documents of a job are listed, and after which position."""

    job_id: UUID
    states: tuple[str, ...] = ()
    after_position: int = -1


def page(
    database: Database, client: str, wanted: DocumentFilter, size: int
) -> list[DocumentRecord]:
    """Up to `size` documents in the order of the case file. Raises NotFound for the job."""
    with database.transaction() as transaction:
        rows = transaction.all(
            f"SELECT {_COLUMNS} FROM documents WHERE job_id = %(job_id)s"
            " AND position > %(after)s AND (%(states)s = '{}' OR state = ANY(%(states)s))"
            " AND EXISTS (SELECT FROM jobs WHERE job_id = %(job_id)s AND client = %(client)s)"
            " ORDER BY position LIMIT %(size)s",
            job_id=wanted.job_id,
            client=client,
            states=list(wanted.states),
            after=wanted.after_position,
            size=size,
        )
        if not rows:
            _require_job(transaction, client, wanted.job_id)
    return [DocumentRecord.of(row) for row in rows]


def get(
    database: Database, client: str, job_id: UUID, document_id: UUID
) -> tuple[DocumentRecord, int | None]:
    """A document and the secrecy level of its case. Raises NotFound."""
    with database.transaction() as transaction:
        row = transaction.one(
            f"SELECT {columns(DocumentRecord, prefix='d.')}, j.secrecy_level AS case_level"
            " FROM documents d JOIN jobs j USING (job_id)"
            " WHERE job_id = %(job_id)s AND document_id = %(document_id)s"
            " AND client = %(client)s",
            job_id=job_id,
            document_id=document_id,
            client=client,
        )
        if row is None:
            _require_job(transaction, client, job_id)
            raise NotFound("document", str(document_id))
    return DocumentRecord.of(row), row["case_level"]


def _require_job(transaction: Transaction, client: str, job_id: UUID) -> None:
    known = transaction.one(
        "SELECT FROM jobs WHERE job_id = %(job_id)s AND client = %(client)s",
        job_id=job_id,
        client=client,
    )
    if known is None:
        raise NotFound("job", str(job_id))
