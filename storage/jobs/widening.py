"""Widen a running job: a call that joins it may want documents that the job would skip."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from peewee import fn

from storage import sql
from storage.errors import InvalidRequest, ServiceUnavailable
from storage.event_counters import DOCUMENTS_ENDED
from storage.job_end.completion import complete_if_done
from storage.jobs.job_start import StartRequest
from storage.listings import listing_cache
from storage.listings.listing_import import ImportRows, ListingImport, StoredObject
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.models import Document, Job
from storage.objects.object_store import Objects
from storage.postgres.database import Database, Row, Transaction
from storage.selections.selection import Wants
from storage.states import DocumentState

# The most selections of a job, the most ids in them, and the most characters of all as JSON: every
# message of the job has them.
MOST_SELECTIONS = 20
MOST_IDS = 20_000
MOST_CHARACTERS = 1_000_000


def widen(
    database: Database,
    objects: Objects,
    request: StartRequest,
    job_id: UUID,
    *,
    limit_s: float,
    size_limits: SizeLimits = UNLIMITED,
) -> None:
    """Add what `request` wants to the running job `job_id` of its client. Idempotent.

    SKIPPED documents that are wanted now become PENDING, or AVAILABLE if another job stored them
    and the bucket has them, or FAILED if they can never be requested. The call waits at most
    `limit_s` seconds for the bucket's answer. A job that has ended does not change. Raises
    InvalidRequest if the job would have too many selections.
    """
    stored = _stored(database, objects, request, job_id, limit_s)
    with database.transaction() as transaction:
        job = _locked(transaction, request.client, job_id)
        if job is None:
            return
        had = Wants.of(job["selections"])
        wants = had.joined(request.wants)
        if wants == had:
            return
        _require_room(wants)
        rows = _rows(transaction, job, wants, stored, size_limits)
        _write(transaction, job, wants, rows, _unlisted(transaction, job, wants))


def _locked(transaction: Transaction, client: str, job_id: UUID) -> Row | None:
    query = Job.select().where(Job.job_id == job_id, Job.client == client, Job.end_time.is_null())
    job: Row | None = transaction.fetch_one(query.for_update().dicts())
    return job


def _require_room(wants: Wants) -> None:
    selections = wants.selections or ()
    if len(selections) > MOST_SELECTIONS:
        raise InvalidRequest.of(
            "selection",
            f"the case's running job has {MOST_SELECTIONS} other selections; wait for its end.",
        )
    if sum(len(each.document_ids) for each in selections) > MOST_IDS:
        raise InvalidRequest.of(
            "selection.document_ids",
            f"the case's running job would have more than {MOST_IDS}; wait for its end.",
        )
    if len(json.dumps(wants.as_values, ensure_ascii=False)) > MOST_CHARACTERS:
        raise InvalidRequest.of(
            "selection",
            f"the case's running job would have selections of more than {MOST_CHARACTERS}"
            " characters; wait for its end.",
        )


def _stored(
    database: Database, objects: Objects, request: StartRequest, job_id: UUID, limit_s: float
) -> dict[UUID, StoredObject]:
    """Return the objects that the bucket holds for the documents that are not skipped any more.

    No lock and no connection is held while the bucket answers.
    """
    with database.transaction() as transaction:
        job = transaction.fetch_one(
            Job.select().where(Job.job_id == job_id, Job.client == request.client).dicts()
        )
        skipped = _skipped(transaction, job) if job else None
    if skipped is None or not skipped.items:
        return {}
    wants = Wants.of(job["selections"]).joined(request.wants)
    try:
        known = listing_cache.with_stored(database, objects, skipped, limit_s=limit_s, wants=wants)
    except ServiceUnavailable:
        # Without an answer of the bucket the documents are fetched.
        return {}
    return {item.document_id: item.stored for item in known.items if item.stored}


def _skipped(transaction: Transaction, job: Row) -> ListingImport:
    """Return the documents that the job skips, in the order of the case file."""
    return listing_cache.documents_of(
        transaction, job["client"], job, Document.state == DocumentState.SKIPPED
    )


def _rows(
    transaction: Transaction,
    job: Row,
    wants: Wants,
    stored: Mapping[UUID, StoredObject],
    size_limits: SizeLimits,
) -> ImportRows:
    """Return the new rows of the documents that the job skips."""
    skipped = _skipped(transaction, job).with_reused_objects(dict(stored))
    return ImportRows.of(skipped, size_limits, wants)


def _unlisted(transaction: Transaction, job: Row, wants: Wants) -> list[UUID]:
    if job["listed_time"] is None:
        return []
    query = Document.select(Document.document_id).where(Document.job_id == job["job_id"])
    return wants.unlisted([document_id for (document_id,) in transaction.fetch(query.tuples())])


def _write(
    transaction: Transaction, job: Row, wants: Wants, rows: ImportRows, unlisted: list[UUID]
) -> None:
    wanted = [row for row in rows.rows if row["state"] != DocumentState.SKIPPED]
    transaction.run(
        sql.statement("want_documents"),
        job_id=job["job_id"],
        revision=job["revision"],
        rows=json.dumps(wanted),
    )
    after = transaction.fetch_one(_widened(job, wants, wanted, unlisted))
    for state, cause in rows.ended():
        transaction.count(DOCUMENTS_ENDED, state, cause)
    transaction.changed(after["job_id"], after["revision"])
    complete_if_done(transaction, after)


def _widened(job: Row, wants: Wants, wanted: Sequence[Row], unlisted: list[UUID]) -> Any:
    """Return the query that writes the job's wants and counters, and returns its row."""
    stored = [row["size_bytes"] for row in wanted if row["state"] == DocumentState.AVAILABLE]
    failed = sum(row["state"] == DocumentState.FAILED for row in wanted)
    return (
        Job.update(
            selections=wants.as_values,
            unlisted_document_ids=unlisted,
            revision=Job.revision + len(wanted) + 1,
            skipped_documents=Job.skipped_documents - len(wanted),
            completed_documents=Job.completed_documents + len(stored),
            reused_documents=Job.reused_documents + len(stored),
            failed_documents=Job.failed_documents + failed,
            stored_bytes=Job.stored_bytes + sum(stored),
            update_time=fn.clock_timestamp(),
        )
        .where(Job.job_id == job["job_id"])
        .returning(Job)
        .dicts()
    )
