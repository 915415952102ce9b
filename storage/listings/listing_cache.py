"""Reuse of a recent listing, and of documents that the bucket already holds.

Autos sends every request with one login, so the portal's answer does not depend on the client. A
listing without a seal serves every client that requested the case before the answer came. An older
listing serves its own client only, so that no client learns what others requested. Clients do not
share stored documents: each client has its own document_id, and its own object keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from peewee import SQL, Value, fn

from storage.listings.listed_case import ListedDocument
from storage.listings.listing_import import ListingImport, StoredObject, items_of
from storage.models import Document, Job
from storage.models.base import fields_of, is_any
from storage.objects.object_store import Objects
from storage.postgres.database import Database, Row, Transaction
from storage.selections.selection import EVERYTHING, Wants
from storage.states import DocumentState

_OF_A_LISTING = (
    *fields_of(Document, ListedDocument),
    Document.document_id,
    Document.error_reason,
)


def _in_earlier_job(client: str, process_number: str) -> Any:
    """Select the documents of the client's job of this case that was listed last."""
    earlier = (
        Job.select(fn.COALESCE(Job.documents_of, Job.job_id))
        .where(
            Job.client == client,
            Job.process_number == process_number,
            Job.listed_time.is_null(False),
        )
        .order_by(Job.listed_time.desc(), Job.create_time.desc(), Job.job_id.desc())
        .limit(1)
    )
    return Document.job_id == earlier


def recent_listing(
    database: Database, client: str, process_number: str, source: UUID
) -> ListingImport | None:
    """Return the listing of the job `source` for this client, None if it must not be reused.

    The listing must not be reused if it lacks documents that this client had listed before, unless
    the portal was requested twice.
    """
    listing, missing = compared(
        database, client, process_number, listing_of(database, client, source)
    )
    return None if missing and listing.doubt_time is None else listing


def listing_of(database: Database, client: str, job_id: UUID) -> ListingImport:
    """Return the listing of a job for this client."""
    with database.autocommit() as transaction:
        job = transaction.fetch_one(Job.select().where(Job.job_id == job_id).dicts())
        return documents_of(transaction, client, job, Value(True))


def documents_of(transaction: Transaction, client: str, job: Row, condition: Any) -> ListingImport:
    """Return those of a job's documents that meet a condition, as a listing for this client."""
    its_documents = Document.select(*_OF_A_LISTING).where(
        Document.job_id == (job["documents_of"] or job["job_id"]), condition
    )
    rows = transaction.fetch(its_documents.order_by(Document.position).dicts())
    return ListingImport(
        job["secrecy_level"],
        items_of(client, job["process_number"], rows),
        job["listed_time"],
        job["listing_doubt_time"],
    )


def size_of(database: Database, job_id: UUID) -> int:
    """Return the number of documents in the listing of a job."""
    with database.autocommit() as transaction:
        job = transaction.fetch_one(Job.select(Job.total_documents).where(Job.job_id == job_id))
    return job.total_documents or 0


def compared(
    database: Database, client: str, process_number: str, listing: ListingImport
) -> tuple[ListingImport, int]:
    """Return the listing with its time, and how many of the client's earlier documents it lacks.

    A listing without a time has just been received from the portal.
    """
    is_there = is_any(Document.document_id, [item.document_id for item in listing.items])
    query = Document.select(fn.clock_timestamp(), fn.count(SQL("*"))).where(
        _in_earlier_job(client, process_number), ~is_there
    )
    with database.autocommit() as transaction:
        now, missing = transaction.fetch_one(query.tuples())
    return replace(listing, listed_time=listing.listed_time or now), missing


def require_bucket(
    database: Database, objects: Objects, client: str, process_number: str, *, limit_s: float
) -> None:
    """Raise ServiceUnavailable if the stored documents of the case cannot be looked up.

    Call this before a portal request: an answer that cannot be recorded would be requested again.
    """
    any_stored = Document.select(Document.object_key, Document.size_bytes).where(
        _in_earlier_job(client, process_number), Document.object_key.is_null(False)
    )
    with database.autocommit() as transaction:
        found = dict(transaction.fetch(any_stored.limit(1).tuples()))
    if found:
        objects.present(found, limit_s=limit_s)


def with_stored(
    database: Database,
    objects: Objects,
    listing: ListingImport,
    *,
    limit_s: float | None = None,
    wants: Wants = EVERYTHING,
) -> ListingImport:
    """Return the listing with all that earlier jobs stored of `wants` and the bucket still holds.

    A document with a different listed size has changed and is fetched again. Raises
    ServiceUnavailable if PostgreSQL or S3 is unavailable.
    """
    wanted = listing.wanted_ids(wants)
    listed = {
        item.document_id: item.listed.listed_size_bytes
        for item in listing.items
        if item.document_id in wanted
    }
    with database.autocommit() as transaction:
        same = _stored_as_listed(transaction, listed)
    there = objects.present({s.object_key: s.size_bytes for s in same.values()}, limit_s=limit_s)
    return listing.with_reused_objects({i: s for i, s in same.items() if s.object_key in there})


def stored_of_failed(transaction: Transaction, job_id: UUID) -> dict[str, int]:
    """Return what other jobs stored of the documents that failed in this job: sizes by object key.

    A document has changed if its listed size differs from the stored size; it is not returned. The
    caller must check that the bucket still holds the objects.
    """
    failed = Document.select(Document.document_id, Document.listed_size_bytes).where(
        Document.job_id == job_id, Document.state == DocumentState.FAILED
    )
    listed = dict(transaction.fetch(failed.tuples()))
    stored = _stored_as_listed(transaction, listed)
    return {s.object_key: s.size_bytes for s in stored.values()}


def _stored_as_listed(
    transaction: Transaction, listed: Mapping[UUID, int | None]
) -> dict[UUID, StoredObject]:
    """Return the stored objects of these documents, if their sizes equal the listed sizes."""
    if not listed:
        return {}
    newest = (
        Document.select(Document.document_id, *fields_of(Document, StoredObject))
        .join(Job)
        .where(is_any(Document.document_id, listed), Document.state == DocumentState.AVAILABLE)
        .distinct(Document.document_id)
        .order_by(Document.document_id, Job.create_time.desc())
    )
    return {
        row.pop("document_id"): StoredObject(**row)
        for row in transaction.fetch(newest.dicts())
        if listed[row["document_id"]] in (None, row["size_bytes"])
    }


def is_listing_sealed(transaction: Transaction, job: Row) -> bool:
    """Return whether a job was listed with any seal. Unknown counts as sealed."""
    if job["listed_time"] is None:
        return False
    sealed = Document.select(Document.document_id).where(
        Document.job_id == (job["documents_of"] or job["job_id"]),
        Document.secrecy_level != "PUBLICO",
    )
    return job["secrecy_level"] != 0 or transaction.fetch_one(sealed.limit(1).dicts()) is not None
