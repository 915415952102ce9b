"""Jobs as callers see them: read, list, cancel. storage/jobs/job_start.py starts them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from peewee import Case, Tuple, fn

from storage.errors import NotFound
from storage.job_end.completion import end, terminate_remaining
from storage.models import Job, JobLabel, Webhook, WebhookAttempt
from storage.models.base import fields_of, is_any
from storage.models.job import IS_NO_LOOK
from storage.postgres.database import Database, Row, Transaction
from storage.postgres.page_bytes import within_page_bytes
from storage.records import AttemptRecord, JobRecord, JobView, WebhookRecord
from storage.states import DocumentState, JobState

_FIELDS = fields_of(Job, JobRecord)
_RECORDS = Job.select(*_FIELDS).objects(JobRecord)
# In a message with many jobs, selections of more stored bytes are left out.
LONG_SELECTIONS = 500
_SHORT = Case(None, [(fn.pg_column_size(Job.selections) <= LONG_SELECTIONS, Job.selections)]).alias(
    "selections"
)
_SHORT_RECORDS = Job.select(
    *(_SHORT if field is Job.selections else field for field in _FIELDS)
).objects(JobRecord)
# How long a call waits in its thread for the row of a job, for example while a listing is recorded.
LOCK_WAIT = "2s"
_NEWEST_FIRST = (Job.create_time.desc(), Job.job_id.desc())
_WEBHOOKS = Webhook.select(*fields_of(Webhook, WebhookRecord)).order_by(
    Webhook.job_id, Webhook.position
)


def view(transaction: Transaction, job: Row) -> JobView:
    """Return a job with its webhooks, from the job's row."""
    return _views(transaction, [JobRecord.of(job)])[0]


def views(
    transaction: Transaction, job_ids: Collection[UUID], *, are_short: bool = False
) -> dict[UUID, JobView]:
    """Return the existing jobs of these, of any client. `are_short`: without long selections."""
    records = _SHORT_RECORDS if are_short else _RECORDS
    found = transaction.fetch(records.where(is_any(Job.job_id, job_ids)))
    return {view.job.job_id: view for view in _views(transaction, found)}


def _views(transaction: Transaction, jobs: Sequence[JobRecord]) -> list[JobView]:
    hooks: dict[UUID, list[WebhookRecord]] = {job.job_id: [] for job in jobs}
    rows = transaction.fetch(_WEBHOOKS.where(is_any(Webhook.job_id, hooks)).dicts())
    attempts = _attempts(transaction, [r["webhook_id"] for r in rows if r["attempt_count"]])
    for row in rows:
        made = tuple(attempts.get(row["webhook_id"], ()))
        hooks[row["job_id"]].append(WebhookRecord(**row, attempts=made))
    return [JobView(job, tuple(hooks[job.job_id])) for job in jobs]


def _attempts(
    transaction: Transaction, webhook_ids: Sequence[str]
) -> dict[str, list[AttemptRecord]]:
    if not webhook_ids:
        return {}
    made: dict[str, list[AttemptRecord]] = {}
    rows = transaction.fetch(
        WebhookAttempt.select(WebhookAttempt.webhook_id, *fields_of(WebhookAttempt, AttemptRecord))
        .where(is_any(WebhookAttempt.webhook_id, webhook_ids))
        .order_by(WebhookAttempt.webhook_id, WebhookAttempt.number)
        .dicts()
    )
    for row in rows:
        made.setdefault(row["webhook_id"], []).append(AttemptRecord.of(row))
    return made


def get(database: Database, client: str, job_id: UUID) -> JobView:
    """Return a job of this client. Raises NotFound."""
    return _first(database, _RECORDS.where(_is_own(client, job_id)), job_id)


def _is_own(client: str, job_id: UUID) -> Any:
    return (Job.job_id == job_id) & (Job.client == client) & IS_NO_LOOK


def newest(database: Database, client: str, process_number: str) -> JobView:
    """Return the newest job of a case of this client. Raises NotFound."""
    of_case = _RECORDS.where(Job.client == client, Job.process_number == process_number, IS_NO_LOOK)
    return _first(database, of_case.order_by(*_NEWEST_FIRST).limit(1), process_number)


def _first(database: Database, query: Any, name: object) -> JobView:
    with database.snapshot() as transaction:
        job = transaction.fetch_one(query)
        if job is None:
            raise NotFound("job", str(name))
        return _views(transaction, [job])[0]


def own(transaction: Transaction, client: str, job_id: UUID, *, is_locked: bool = False) -> Row:
    """Return the row of a job of this client, locked if `is_locked`.

    The lock is waited for LOCK_WAIT at most, as is every later lock of the transaction. Raises
    NotFound, and RowsLocked if the wait took too long.
    """
    query = Job.select().where(_is_own(client, job_id))
    if is_locked:
        transaction.set_local(lock_timeout=LOCK_WAIT)
    job: Row | None = transaction.fetch_one((query.for_update() if is_locked else query).dicts())
    if job is None:
        raise NotFound("job", str(job_id))
    return job


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The jobs to list, and the last job of the previous page."""

    client: str
    process_number: str | None = None
    states: tuple[str, ...] = ()
    after: tuple[datetime, UUID] | None = None
    # All of these labels.
    labels: Mapping[str, str] = field(default_factory=dict)
    created_from: datetime | None = None
    created_to: datetime | None = None
    # The batch that made them.
    batch_id: UUID | None = None


def page(database: Database, wanted: JobFilter, size: int) -> tuple[list[JobView], bool]:
    """Return up to `size` jobs, newest first, and whether there are more.

    If their selections are long, the page has fewer jobs, but at least one.
    """
    first = within_page_bytes(
        _first_jobs(wanted, size + 1),
        [field.name for field in _FIELDS],
        ["-create_time", "-job_id"],
        ["selections"],
    )
    with database.snapshot() as transaction:
        rows = transaction.fetch(first)
        shown = rows[:size]
        views = _views(transaction, [JobRecord.of(row) for row in shown])
    return views, bool(shown) and shown[0]["found"] > len(shown)


def _first_jobs(wanted: JobFilter, size: int) -> Any:
    """Return the query for the first `size` jobs that are wanted."""
    query, (create_time, job_id) = _labelled(wanted)
    query = query.where(Job.client == wanted.client, IS_NO_LOOK)
    if wanted.process_number:
        query = query.where(Job.process_number == wanted.process_number)
    if wanted.batch_id:
        query = query.where(Job.batch_id == wanted.batch_id)
    if wanted.states:
        query = query.where(is_any(Job.state, wanted.states))
    if wanted.created_from:
        query = query.where(create_time >= wanted.created_from)
    if wanted.created_to:
        query = query.where(create_time < wanted.created_to)
    if wanted.after:
        query = query.where(Tuple(create_time, job_id) < wanted.after)
    return query.order_by(create_time.desc(), job_id.desc()).limit(size)


def _labelled(wanted: JobFilter) -> tuple[Any, tuple[Any, Any]]:
    """Return the query for the jobs with all labels, and the columns that order it.

    The index of the first label gives the jobs in the order of a page; each further label is looked
    up for each of them.
    """
    if not wanted.labels:
        return _RECORDS, (Job.create_time, Job.job_id)
    (key, value), *others = sorted(wanted.labels.items())
    query = _RECORDS.join(JobLabel, on=JobLabel.job_id == Job.job_id).where(
        JobLabel.client == wanted.client, JobLabel.key == key, JobLabel.value == value
    )
    for key, value in others:
        other = JobLabel.alias()
        query = query.where(
            fn.EXISTS(
                other.select(other.job_id).where(
                    other.job_id == Job.job_id, other.key == key, other.value == value
                )
            )
        )
    return query, (JobLabel.create_time, JobLabel.job_id)


def cancel(database: Database, client: str, job_id: UUID) -> JobView:
    """Cancel a job and its remaining documents. A job that has ended does not change."""
    with database.transaction() as transaction:
        job = own(transaction, client, job_id, is_locked=True)
        if job["end_time"] is None:
            terminate_remaining(transaction, job, DocumentState.CANCELLED)
            job = end(transaction, job_id, JobState.CANCELLED)
        return view(transaction, job)


def revisions(database: Database, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the current revision of each existing job of these, of any client."""
    query = Job.select(Job.job_id, Job.revision).where(is_any(Job.job_id, job_ids)).tuples()
    with database.transaction() as transaction:
        return dict(transaction.fetch(query))
