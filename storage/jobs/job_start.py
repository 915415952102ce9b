"""Start the jobs of StartDownload calls, or find the jobs that serve them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from storage import sql
from storage.errors import (
    InvalidRequest,
    LimitReached,
    RequestIdReused,
)
from storage.event_counters import JOBS_ENDED
from storage.jobs import job_queries
from storage.listings.listing_import import ImportRows, ListingImport
from storage.listings.listing_record import count_ends
from storage.postgres.database import Database, Row
from storage.priorities import Priority
from storage.records import JobRecord, JobView, WebhookRecord
from storage.selections.selection import EVERYTHING, Wants
from storage.states import JobState, WebhookState
from storage.webhook_policy import receiver_of

# The labels of a request, and of those that join its job.
MOST_LABELS = 64
# If a recent listing has more documents, a worker copies it, because the call must stay short.
MAX_DOCUMENTS_IN_CALL = 500
# Webhooks of one job. Its end sends all of them, and each message of the job holds all of them.
MAX_WEBHOOKS = 10
# Seconds in which a request is repeated while another transaction works on its case. Longer than
# PostgreSQL lets a frozen process keep a lock.
BUSY_LIMIT_S = 15.0


class BatchPlace(NamedTuple):
    """A request of a batch: its position in the call, from 0."""

    batch_id: UUID
    place: int


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A StartDownload with checked fields.

    `max_age_s` is the age that applies; `given_max_age_s` is the caller's value, None without one.
    `jobs_at_once`: how many jobs of the client may run, including this one; None for any number.
    `waiting_jobs`: the same for jobs that were started with a later `not_before_time`, which do not
    count as `jobs_at_once`.
    """

    client: str
    process_number: str
    webhook_url: str | None
    request_id: UUID | None
    max_age_s: float
    given_max_age_s: float | None
    priority: Priority = Priority.NORMAL
    # The position of the call in a trace (W3C Trace Context); the job's work joins that trace.
    traceparent: str | None = None
    jobs_at_once: int | None = None
    waiting_jobs: int | None = None
    # Whether the client may not fetch sealed cases.
    refuses_sealed: bool = False
    wants: Wants = EVERYTHING
    labels: Mapping[str, str] = field(default_factory=dict)
    not_before_time: datetime | None = None
    # Seconds after the end for which the stored documents are kept; None: the client's setting.
    retention_s: float | None = None
    # The batch that records the result of the request.
    batch: BatchPlace | None = None

    @property
    def first_state(self) -> JobState:
        """Return the first state of the request's job, if the request gets a new one."""
        return JobState.PENDING if self.webhook_url else JobState.PROCESSING

    @property
    def payload_sha256(self) -> str:
        """Return the hash of the fields that must be equal when a request_id is used again."""
        payload: list[object] = [self.process_number, self.webhook_url, self.given_max_age_s]
        # Not added for NORMAL: hashes that earlier releases stored must stay valid.
        if self.priority is not Priority.NORMAL:
            payload.append(self.priority)
        # For the same reason, what the caller did not set is left out.
        chosen = {
            "selections": self.wants.as_values,
            "labels": dict(sorted(self.labels.items())) or None,
            "not_before_time": self.not_before_time and self.not_before_time.isoformat(),
            "retention_s": self.retention_s,
        }
        payload += [[key, value] for key, value in chosen.items() if value is not None]
        return hashlib.sha256(json.dumps(payload).encode()).hexdigest()


class How(StrEnum):
    """The kind of an answer: `how` of sql/jobs/start_jobs.sql."""

    NEW = "new"
    JOINED = "joined"
    EARLIER = "earlier"
    REQUEST_ID_REUSED = "request_id_reused"
    LOOK = "look"
    WIDER = "wider"
    TOO_MANY_LABELS = "too_many_labels"
    NO_SEAT = "no_seat"
    NO_WEBHOOK = "no_webhook"
    NO_WAITING_SEAT = "no_waiting_seat"
    RECORDED = "recorded"
    BUSY = "busy"


_WITH_JOB = frozenset({How.NEW, How.JOINED, How.EARLIER})


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """A request, with the recent listing of its case if it is known.

    `listing`: the documents that a new job begins with, copied from the job `source`. If all of
    them are stored, the job ends in the same transaction. `may_look`: whether the answer may be
    How.LOOK.
    """

    request: StartRequest
    listing: ListingImport | None = None
    source: UUID | None = None
    may_look: bool = True


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """The answer to a request: its job, or the reason why there is none yet.

    `recent`: for How.LOOK, the job that holds the recent listing. `wider`: for How.WIDER, the
    running job that does not want all that the request wants.
    """

    how: How
    view: JobView | None = None
    recent: UUID | None = None
    wider: UUID | None = None


def start_jobs(
    database: Database, attempts: Sequence[StartAttempt], *, job_deadline_s: int
) -> list[StartAnswer]:
    """Answer each request in one transaction, in the order of `attempts`.

    A single request waits for locked rows. A request among several does not wait, and its answer is
    How.BUSY. Raises RowsLocked if a wait took too long; nothing was started then.
    """
    imports = {
        place: ImportRows.of(attempt.listing, wants=attempt.request.wants)
        for place, attempt in enumerate(attempts)
        if attempt.listing
    }
    rows = database.call(
        sql.function("start_jobs"),
        requests=as_json(attempts, _new_ids(len(attempts)), imports),
        deadline_s=job_deadline_s,
        most_documents=MAX_DOCUMENTS_IN_CALL,
        most_webhooks=MAX_WEBHOOKS,
        most_labels=MOST_LABELS,
    )
    by_place = {row["place"]: row for row in rows}
    for place, import_rows in imports.items():
        row = by_place[place]
        if row["how"] == How.NEW and row["total_documents"] is not None:
            count_ends(database, import_rows, row["state"])
        elif row["how"] == How.NEW and row["end_time"] is not None:
            # Refused: none of its documents is there.
            database.counted(JOBS_ENDED, row["state"])
    views = _views(database, attempts, by_place)
    return [
        StartAnswer(
            how := How(row["how"]),
            views.get(place),
            row["listed_by"],
            row["job_id"] if how is How.WIDER else None,
        )
        for place in range(len(attempts))
        if (row := by_place[place])
    ]


def required(request: StartRequest, answer: StartAnswer) -> JobView:
    """Return the job of an answer.

    Raises RequestIdReused, LimitReached or InvalidRequest for a refused request.
    """
    if answer.how is How.REQUEST_ID_REUSED:
        raise RequestIdReused.of(
            "request_id", "was already used with other values; choose a new UUID for a new request."
        )
    if answer.how is How.NO_SEAT:
        raise LimitReached("jobs_at_once", request.client, request.jobs_at_once or 0)
    if answer.how is How.NO_WEBHOOK:
        raise LimitReached("webhooks_per_job", request.client, MAX_WEBHOOKS)
    if answer.how is How.NO_WAITING_SEAT:
        raise LimitReached("waiting_jobs", request.client, request.waiting_jobs or 0)
    if answer.how is How.TOO_MANY_LABELS:
        raise InvalidRequest.of(
            "labels", f"the case's running job would have more than {MOST_LABELS}."
        )
    if answer.view is None:
        raise LookupError(f"a request that was answered {answer.how} has no job")
    return answer.view


def as_json(
    attempts: Sequence[StartAttempt], ids: Sequence[UUID], imports: Mapping[int, ImportRows]
) -> str:
    """Return the argument `_requests` of start_jobs.sql. `imports`: the listings by place."""
    return json.dumps(
        [
            _row(place, job_id, attempt, imports.get(place))
            for place, (job_id, attempt) in enumerate(zip(ids, attempts, strict=True))
        ]
    )


# Fields of a request that start_jobs.sql takes by the same names.
_AS_GIVEN = (
    *("client", "process_number", "priority", "max_age_s", "traceparent"),
    *("refuses_sealed", "retention_s"),
)


def _row(place: int, job_id: UUID, attempt: StartAttempt, rows: ImportRows | None) -> Row:
    request = attempt.request
    row: Row = {
        **{name: getattr(request, name) for name in _AS_GIVEN},
        "place": place,
        "job_id": str(job_id),
        "state": request.first_state,
        "seats": request.jobs_at_once,
        "waiting_seats": request.waiting_jobs,
        "selections": request.wants.as_values,
        "labels": dict(request.labels),
        "not_before_time": request.not_before_time and request.not_before_time.isoformat(),
        "may_look": attempt.may_look and attempt.listing is None,
    }
    if request.webhook_url:
        row |= {"url": request.webhook_url, "receiver": receiver_of(request.webhook_url)}
    if request.request_id:
        row |= {"request_id": str(request.request_id), "payload_sha256": request.payload_sha256}
    if request.batch:
        row |= {"batch_id": str(request.batch.batch_id), "batch_place": request.batch.place}
    if rows is not None:
        row |= {"listing": rows.as_values, "source": attempt.source and str(attempt.source)}
    return row


def _views(
    database: Database, attempts: Sequence[StartAttempt], rows: Mapping[int, Row]
) -> dict[int, JobView]:
    """Return the jobs of the requests that have one, by place."""
    fresh = {
        place: JobView(JobRecord.of(row), _waiting_webhooks(row["job_id"], attempts[place].request))
        for place, row in rows.items()
        # A later request of the same call may have joined the job, and given it a webhook.
        if row["how"] == How.NEW and row["end_time"] is None and row["revision"] == 1
    }
    read = {
        place: row["job_id"]
        for place, row in rows.items()
        if row["how"] in _WITH_JOB and place not in fresh
    }
    are_of_batch = any(attempt.request.batch for attempt in attempts)
    return fresh | _read(database, read, are_short=are_of_batch)


def _read(
    database: Database, job_ids: Mapping[int, UUID], *, are_short: bool
) -> dict[int, JobView]:
    if not job_ids:
        return {}
    with database.snapshot() as transaction:
        views = job_queries.views(transaction, set(job_ids.values()), are_short=are_short)
    return {place: views[job_id] for place, job_id in job_ids.items()}


def _new_ids(count: int) -> list[UUID]:
    # The same as uuid4, which releases the interpreter's lock for each value.
    drawn = os.urandom(16 * count)
    return [UUID(bytes=drawn[i : i + 16], version=4) for i in range(0, len(drawn), 16)]


def _waiting_webhooks(job_id: UUID, request: StartRequest) -> tuple[WebhookRecord, ...]:
    """Return the webhooks of a new job."""
    if request.webhook_url is None:
        return ()
    return (WebhookRecord(job_id, 0, request.webhook_url, WebhookState.WAITING),)
