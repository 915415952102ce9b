"""The failed documents of a job that runs again: found stored by another job, or fetched again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from peewee import Value, fn

from storage.event_counters import DOCUMENTS_ENDED, REUSED
from storage.listings.listing_import import StoredObject
from storage.listings.size_limits import SizeLimits
from storage.models import Document
from storage.models.base import fields_of, is_any
from storage.postgres.database import Row, Transaction
from storage.states import DocumentState, sources_of

_OF_AN_OBJECT = fields_of(Document, StoredObject)
NO_ERROR = {"error_reason": None, "error_message": None, "error_is_retryable": None}


def carry_over(transaction: Transaction, job: Row, keys: list[str]) -> list[int]:
    """Make failed documents AVAILABLE as stored under `keys`, each with its own revision.

    Return their sizes in bytes. No sweep deletes a reused object: rows of other jobs named it
    before the bucket was read, and no row ever leaves AVAILABLE.
    """
    found = _stored_elsewhere(job["job_id"], keys)
    rows = transaction.fetch(
        Document.update(
            {
                "state": DocumentState.AVAILABLE,
                "revision": job["revision"] + found.c.number,
                "is_reused": True,
                "failing_since": None,
                **{field.name: found.c[field.name] for field in _OF_AN_OBJECT},
                **NO_ERROR,
            }
        )
        .from_(found)
        .where(
            Document.job_id == job["job_id"],
            Document.document_id == found.c.document_id,
            Document.state.in_(sources_of(DocumentState.AVAILABLE)),
        )
        .returning(Document.size_bytes)
        .tuples()
    )
    if rows:
        transaction.count(DOCUMENTS_ENDED, DocumentState.AVAILABLE, REUSED, by=len(rows))
    return [size_bytes for (size_bytes,) in rows]


def _stored_elsewhere(job_id: UUID, keys: list[str]) -> Any:
    """Return a subquery: the failed documents of a job, numbered, with their stored objects."""
    stored = (
        Document.select(Document.document_id, *_OF_AN_OBJECT)
        .where(is_any(Document.object_key, keys), Document.state == DocumentState.AVAILABLE)
        .distinct(Document.document_id)
        .alias("stored")
    )
    failed = Document.alias("failed")
    return (
        failed.select(
            failed.document_id,
            fn.row_number().over(order_by=[failed.position]).alias("number"),
            *(stored.c[field.name] for field in _OF_AN_OBJECT),
        )
        .join(stored, on=failed.document_id == stored.c.document_id)
        .where(failed.job_id == job_id, failed.state == DocumentState.FAILED)
        .alias("found")
    )


def reset_documents(
    transaction: Transaction, job: Row, revision: int, size_limits: SizeLimits
) -> int:
    """Make the failed documents PENDING, each with its own revision after `revision`.

    Return their number. A document stays failed if it would be refused before any request: it has
    no trusted link, or its listed size is above `size_limits`.
    """
    failed = (
        Document.select(
            Document.document_id,
            fn.row_number().over(order_by=[Document.position]).alias("number"),
        )
        .where(
            Document.job_id == job["job_id"],
            fn.cardinality(Document.hrefs) > 0,
            Document.state == DocumentState.FAILED,
            _is_small_enough(size_limits),
        )
        .alias("failed")
    )
    return transaction.execute(
        Document.update(
            state=DocumentState.PENDING,
            revision=revision + failed.c.number,
            not_before=None,
            href_index=0,
            href_attempt_count=0,
            pause_count=0,
            lost_lease_count=0,
            doubted_sha256=None,
            failing_since=None,
        )
        .from_(failed)
        .where(Document.job_id == job["job_id"], Document.document_id == failed.c.document_id)
    )


def _is_small_enough(size_limits: SizeLimits) -> Any:
    """Return the SQL condition that no limit refuses the listed size of a document."""
    least_bytes = size_limits.least_bytes
    if least_bytes is None:
        return Value(True)
    size_bytes = Document.listed_size_bytes
    return size_bytes.is_null() | (size_bytes <= least_bytes)
