"""Jobs as callers see them: start or join, look up, list, cancel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from peewee import Tuple

from storage import sql, turns
from storage.closing import close_rest
from storage.database import Database, Row, Transaction, in_list
from storage.ending import end
from storage.errors import FieldViolation, NotFound, RequestIdReused
from storage.listings.listing_import import ImportRows, ListingImport
from storage.models import Job, Webhook, WebhookAttempt
from storage.models.base import fields_of, is_any
from storage.priorities import Priority
from storage.receivers import receiver_of
from storage.records import AttemptRecord, JobRecord, JobView, WebhookRecord
from storage.seats import DRAWN, free_seat
from storage.states import JOB_ENDS, JOB_RUNNING, DocumentState, JobState, WebhookState
from storage.tallies import DOCUMENTS_ENDED, JOBS_ENDED

_RECORDS = Job.select(*fields_of(Job, JobRecord)).objects(JobRecord)
_NEWEST_FIRST = (Job.create_time.desc(), Job.job_id.desc())
_WEBHOOKS = Webhook.select(*fields_of(Webhook, WebhookRecord)).order_by(
    Webhook.job_id, Webhook.position
)
_RUNNING = in_list(sorted(JOB_RUNNING))


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A StartDownload whose fields have been checked.

    `max_age_s` is the age that applies; `given_max_age_s` what the caller said, None if nothing.
    `jobs_at_once`: how many of the client may run, this one included; None for any number.
    """

    client: str
    process_number: str
    webhook_url: str | None
    request_id: UUID | None
    max_age_s: float
    given_max_age_s: float | None
    priority: Priority = Priority.NORMAL
    # Where the call stands in a trace (W3C Trace Context): what the job does becomes part of it.
    traceparent: str | None = None
    jobs_at_once: int | None = None

    @property
    def first_state(self) -> JobState:
        """How its job begins, if it gets one of its own."""
        return JobState.PENDING if self.webhook_url else JobState.PROCESSING

    @property
    def payload_sha256(self) -> str:
        """What must be the same when a request_id comes again."""
        payload: list[object] = [self.process_number, self.webhook_url, self.given_max_age_s]
        # Not always: what earlier releases have remembered must stay good.
        if self.priority is not Priority.NORMAL:
            payload.append(self.priority)
        return hashlib.sha256(json.dumps(payload).encode()).hexdigest()


# Nothing is inserted while a job of the case runs, or when no seat was found.
INSERT = f"""
INSERT INTO jobs (job_id, client, process_number, state, priority, max_age_s, traceparent,
    start_time, deadline_time, seat)
SELECT %(job_id)s, %(client)s, %(process_number)s, %(state)s, %(priority)s, %(max_age_s)s,
    %(traceparent)s, CASE WHEN %(state)s = 'PROCESSING' THEN clock_timestamp() END,
    clock_timestamp() + %(deadline_s)s * interval '1 second', seat
FROM (SELECT coalesce(%(seat)s, {DRAWN}) AS seat) AS given
WHERE %(seats)s::integer IS NULL OR seat IS NOT NULL
ON CONFLICT DO NOTHING
"""
INSERT_WEBHOOK = f"""
INSERT INTO webhooks (job_id, position, url, receiver, state)
SELECT %(job_id)s, count(*), %(url)s, %(receiver)s, '{WebhookState.WAITING}'
FROM webhooks WHERE job_id = %(job_id)s
ON CONFLICT DO NOTHING
"""
REMEMBER = (
    "INSERT INTO requests (client, request_id, payload_sha256, job_id)"
    " VALUES (%(client)s, %(request_id)s, %(payload)s, %(job_id)s) ON CONFLICT DO NOTHING"
)


class _RequestTaken(Exception):
    """Another call with this request_id was first: begin again and find its job."""


def start(
    database: Database, request: StartRequest, *, job_deadline_s: int, known: ListingImport | None
) -> tuple[JobView, bool]:
    """The job that serves `request`, and whether this call made it.

    `known` is a listing that may be reused: a new job begins with it, and ends in the same
    transaction when all of it is stored. Raises RequestIdReused, and LimitReached when a new job
    would be one too many.
    """
    while True:
        try:
            with database.transaction() as transaction:
                return _start(transaction, request, job_deadline_s, known)
        except _RequestTaken:
            continue


def is_served(database: Database, request: StartRequest) -> bool:
    """Whether a job for it exists already; then nothing need be looked up to begin one."""
    with database.single() as transaction:
        row = transaction.only(
            f"SELECT EXISTS (SELECT FROM jobs WHERE client = %(client)s"
            f" AND process_number = %(process_number)s AND state IN ({_RUNNING}))"
            " OR EXISTS (SELECT FROM requests WHERE client = %(client)s"
            " AND request_id = %(request_id)s) AS is_served",
            client=request.client,
            process_number=request.process_number,
            request_id=request.request_id,
        )
    return bool(row["is_served"])


def _start(
    transaction: Transaction,
    request: StartRequest,
    job_deadline_s: int,
    known: ListingImport | None,
) -> tuple[JobView, bool]:
    if earlier := _earlier(transaction, request):
        return view(transaction, earlier), False
    # What is all there ends in this transaction and never runs beside others.
    seats = request.jobs_at_once if known is None else None
    job, is_new = _insert_or_join(transaction, request, job_deadline_s, seats)
    if not is_new:
        job = _raise_priority(transaction, job, request.priority)
    if request.webhook_url:
        job = _add_webhook(transaction, job, request.webhook_url, is_new=is_new)
    if request.request_id:
        _remember(transaction, request, job["job_id"])
    if is_new and known is not None:
        job = _import(transaction, job, ImportRows.of(known))
    return view(transaction, job), is_new


def _import(transaction: Transaction, job: Row, rows: ImportRows) -> Row:
    done = transaction.only(
        sql.function("import_listing").call, job_id=job["job_id"], listing=rows.as_json
    )
    for state, cause in rows.ended():
        transaction.count(DOCUMENTS_ENDED, state, cause)
    if done["state"] in JOB_ENDS:
        transaction.count(JOBS_ENDED, done["state"])
    transaction.changed(job["job_id"], done["revision"])
    return transaction.only("SELECT * FROM jobs WHERE job_id = %(id)s", id=job["job_id"])


def _earlier(transaction: Transaction, request: StartRequest) -> Row | None:
    if request.request_id is None:
        return None
    row = transaction.one(
        "SELECT jobs.*, requests.payload_sha256 FROM requests JOIN jobs USING (job_id)"
        " WHERE requests.client = %(client)s AND request_id = %(request_id)s",
        client=request.client,
        request_id=request.request_id,
    )
    if row and row["payload_sha256"] != request.payload_sha256:
        raise RequestIdReused(
            FieldViolation(
                "request_id",
                "was already used with another process_number, webhook_url, max_age or "
                "priority; "
                "choose a new UUID for a new request.",
            )
        )
    return row


def _insert_or_join(
    transaction: Transaction, request: StartRequest, job_deadline_s: int, seats: int | None
) -> tuple[Row, bool]:
    seat = None
    while True:
        made = transaction.one(
            f"{INSERT} RETURNING *",
            job_id=uuid4(),
            client=request.client,
            process_number=request.process_number,
            state=request.first_state,
            priority=request.priority,
            max_age_s=request.max_age_s,
            traceparent=request.traceparent,
            deadline_s=job_deadline_s,
            seat=seat,
            seats=seats,
        )
        if made:
            turns.enter(transaction, made["job_id"])
            transaction.changed(made["job_id"], made["revision"])
            return made, True
        running = transaction.one(
            f"SELECT * FROM jobs WHERE client = %(client)s"
            f" AND process_number = %(process_number)s AND state IN ({_RUNNING}) FOR UPDATE",
            client=request.client,
            process_number=request.process_number,
        )
        if running:
            return running, False
        # It ended between the two statements, or the seat was taken: the next turn makes a new one.
        if seats is not None:
            seat = free_seat(transaction, request.client, seats)


def _raise_priority(transaction: Transaction, job: Row, wanted: Priority) -> Row:
    """Gives a running job, whose lock is held, a higher priority; a lower one changes nothing."""
    if not wanted.is_above(Priority(job["priority"])):
        return job
    raised = transaction.only(
        "UPDATE jobs SET priority = %(priority)s, revision = revision + 1,"
        " update_time = clock_timestamp() WHERE job_id = %(job_id)s RETURNING *",
        job_id=job["job_id"],
        priority=wanted,
    )
    _take_other_turns(transaction, job, raised)
    transaction.changed(raised["job_id"], raised["revision"])
    return raised


def _take_other_turns(transaction: Transaction, before: Row, job: Row) -> None:
    """Has a job take its turns by its new priority; one that was BULK begins with the others."""
    if before["priority"] == Priority.BULK:
        turns.leave(transaction, job["job_id"])
        turns.enter(transaction, job["job_id"])
        return
    transaction.run(
        "UPDATE turns SET weight = %(weight)s WHERE job_id = %(job_id)s",
        job_id=job["job_id"],
        weight=turns.WEIGHTS[job["priority"]],
    )


def _add_webhook(transaction: Transaction, job: Row, url: str, *, is_new: bool) -> Row:
    added = transaction.run(
        INSERT_WEBHOOK,
        job_id=job["job_id"],
        url=url,
        receiver=receiver_of(url),
    )
    if is_new or not added:
        return job
    joined = transaction.only(
        "UPDATE jobs SET revision = revision + 1, update_time = clock_timestamp()"
        " WHERE job_id = %(job_id)s RETURNING *",
        job_id=job["job_id"],
    )
    transaction.changed(joined["job_id"], joined["revision"])
    return joined


def _remember(transaction: Transaction, request: StartRequest, job_id: UUID) -> None:
    was_first = transaction.run(
        REMEMBER,
        client=request.client,
        request_id=request.request_id,
        payload=request.payload_sha256,
        job_id=job_id,
    )
    if not was_first:
        raise _RequestTaken


def view(transaction: Transaction, job: Row) -> JobView:
    """Return a job, given as its row, with its webhooks."""
    return _views(transaction, [JobRecord.of(job)])[0]


def views(transaction: Transaction, job_ids: Collection[UUID]) -> dict[UUID, JobView]:
    """Return those of these jobs that exist, of any client."""
    found = transaction.fetch(_RECORDS.where(is_any(Job.job_id, job_ids)))
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
    return (Job.job_id == job_id) & (Job.client == client)


def newest(database: Database, client: str, process_number: str) -> JobView:
    """Return the newest job of a case of this client. Raises NotFound."""
    of_case = _RECORDS.where(Job.client == client, Job.process_number == process_number)
    return _first(database, of_case.order_by(*_NEWEST_FIRST).limit(1), process_number)


def _first(database: Database, query: Any, name: object) -> JobView:
    with database.transaction() as transaction:
        job = transaction.fetch_one(query)
        if job is None:
            raise NotFound("job", str(name))
        return _views(transaction, [job])[0]


def own(transaction: Transaction, client: str, job_id: UUID, *, is_locked: bool = False) -> Row:
    """Return the row of a job of this client, locked if `is_locked`. Raises NotFound."""
    query = Job.select().where(_is_own(client, job_id))
    job: Row | None = transaction.fetch_one((query.for_update() if is_locked else query).dicts())
    if job is None:
        raise NotFound("job", str(job_id))
    return job


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are listed, and after which one (the last of the page before)."""

    client: str
    process_number: str | None = None
    states: tuple[str, ...] = ()
    after: tuple[datetime, UUID] | None = None


def page(database: Database, wanted: JobFilter, size: int) -> list[JobView]:
    """Return up to `size` jobs, newest first."""
    query = _RECORDS.where(Job.client == wanted.client)
    if wanted.process_number:
        query = query.where(Job.process_number == wanted.process_number)
    if wanted.states:
        query = query.where(is_any(Job.state, wanted.states))
    if wanted.after:
        query = query.where(Tuple(Job.create_time, Job.job_id) < wanted.after)
    with database.transaction() as transaction:
        found = transaction.fetch(query.order_by(*_NEWEST_FIRST).limit(size))
        return _views(transaction, found)


def cancel(database: Database, client: str, job_id: UUID) -> JobView:
    """Stops a job and marks what is left CANCELLED; one that has ended stays as it is."""
    with database.transaction() as transaction:
        job = own(transaction, client, job_id, is_locked=True)
        if job["end_time"] is None:
            close_rest(transaction, job, DocumentState.CANCELLED)
            job = end(transaction, job_id, JobState.CANCELLED)
        return view(transaction, job)


def revisions(database: Database, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the present revision of each of these jobs that exists, of any client."""
    query = Job.select(Job.job_id, Job.revision).where(is_any(Job.job_id, job_ids)).tuples()
    with database.transaction() as transaction:
        return dict(transaction.fetch(query))
