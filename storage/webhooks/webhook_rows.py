"""Webhooks as rows: claim a due one, read its event, record the result of the attempt."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from peewee import fn

from storage.errors import LeaseLost, PreconditionFailed
from storage.event_counters import LEASES_LOST
from storage.jobs import job_queries, request_ids
from storage.models import Event, Job, Webhook, WebhookAttempt
from storage.models.base import time_after
from storage.postgres.database import Database, Row, Transaction
from storage.records import DocumentRecord, JobRecord, JobView
from storage.states import WebhookState, sources_of
from storage.subscriptions import subscription_rows
from storage.webhooks import delivery_limits
from storage.webhooks.delivery_limits import DEFAULT_LIMITS, DeliveryLimits

# Seconds between one attempt and the next. The first attempt is due at once.
SCHEDULE_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.2
REDELIVERABLE = {WebhookState.PENDING, *sources_of(WebhookState.PENDING)} - {WebhookState.WAITING}
_IS_PENDING = Webhook.state == WebhookState.PENDING
_IS_TIME = Webhook.next_attempt_time <= fn.clock_timestamp()
_IS_FREE = Webhook.lease_until.is_null() | (Webhook.lease_until < fn.clock_timestamp())
_IS_DUE = (_IS_PENDING, _IS_TIME, _IS_FREE)
# The columns that are reset when an attempt is over, or when a webhook is sent again.
_RELEASED = {"lease": None, "lease_until": None, "nudge_count": 0, "nudge_time": None}
METHOD = "RedeliverWebhook"


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A webhook that this process may send while its lease is valid, and the event that it carries.

    `job` and `documents` are as they were when the run ended. `change`: how a watched case differs;
    then there is no job. `attempt_count` counts the attempts of the current schedule.
    """

    job_id: UUID
    position: int
    lease: UUID
    url: str
    webhook_id: str
    client: str
    receiver: str
    attempt_count: int
    type: str
    event_time: datetime
    job: JobRecord | None
    documents: tuple[DocumentRecord, ...]
    change: Mapping[str, Any] | None = None
    traceparent: str | None = None

    @property
    def process_number(self) -> str:
        """Return the number of the case that the event is about."""
        if self.job is not None:
            return self.job.process_number
        return str((self.change or {})["process_number"])


def claim(
    database: Database,
    job_id: UUID,
    position: int,
    *,
    lease_s: float,
    limits: DeliveryLimits = DEFAULT_LIMITS,
) -> WebhookDelivery | None:
    """Lease the webhook for one attempt. None: it is not due, leased, or has to wait.

    It waits while its client or its receiver has as many deliveries as may be under way.
    """
    with database.transaction() as transaction:
        before = delivery_limits.locked_if_room(transaction, job_id, position, limits)
        if before is None:
            return None
        hook = transaction.fetch_one(
            Webhook.update(lease=uuid4(), lease_until=time_after(lease_s))
            .where(_is_at(job_id, position), *_IS_DUE)
            .returning(Webhook)
            .dicts()
        )
        if hook is None:
            return None
        if before["lease"] is not None:
            transaction.count(LEASES_LOST, "webhook")
        event = transaction.fetch_one(
            Event.select(Event, Job.traceparent)
            .join(Job)
            .where(Event.event_id == hook["event_id"])
            .dicts()
        )
    return _delivery(hook, event)


_OF_WEBHOOK = ("job_id", "position", "lease", "url", "webhook_id", "client", "receiver")
_OF_EVENT = ("type", "event_time", "change", "traceparent")


def _delivery(hook: Row, event: Row) -> WebhookDelivery:
    return WebhookDelivery(
        **{name: hook[name] for name in _OF_WEBHOOK},
        **{name: event[name] for name in _OF_EVENT},
        attempt_count=hook["attempt_count"] - hook["earlier_attempt_count"],
        job=event["job"] and JobRecord.of_json(event["job"]),
        documents=tuple(DocumentRecord.of_json(d) for d in event["documents"] or ()),
    )


def _is_at(job_id: UUID, position: int) -> Any:
    return (Webhook.job_id == job_id) & (Webhook.position == position)


def delivered(database: Database, delivery: WebhookDelivery, status_code: int) -> None:
    """Record that the receiver accepted the webhook. Raises LeaseLost."""
    _record(
        database,
        delivery,
        WebhookState.DELIVERED,
        status_code=status_code,
        error="",
        delivered_time=fn.clock_timestamp(),
        next_attempt_time=None,
    )


def refused(
    database: Database,
    delivery: WebhookDelivery,
    *,
    status_code: int,
    error: str,
    retry_after_s: float | None,
    is_final: bool,
    is_timeout: bool = False,
) -> float | None:
    """Record that the attempt failed. Return the seconds until the next, None after the last.

    `status_code` is 0 if there was no answer; `is_timeout`: the receiver was too slow. Callers can
    read `error`. Raises LeaseLost.
    """
    delay_s = None if is_final else next_delay_s(delivery.attempt_count + 1, retry_after_s)
    _record(
        database,
        delivery,
        WebhookState.FAILED if delay_s is None else WebhookState.PENDING,
        status_code=status_code,
        error=error,
        is_timeout=is_timeout,
        next_attempt_time=None if delay_s is None else time_after(delay_s),
    )
    return delay_s


def next_delay_s(attempts_made: int, retry_after_s: float | None) -> float | None:
    """Return the seconds until the next attempt, None at the end of the schedule.

    The receiver's Retry-After is used between once and twice the planned delay.
    """
    if attempts_made > len(SCHEDULE_S):
        return None
    planned_s = SCHEDULE_S[attempts_made - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return min(2 * planned_s, max(planned_s, retry_after_s or 0))


def _record(
    database: Database,
    delivery: WebhookDelivery,
    state: WebhookState,
    *,
    status_code: int,
    error: str,
    is_timeout: bool = False,
    **changes: Any,
) -> None:
    # An attempt that will be repeated is no change of state: the row stays PENDING.
    sources = {WebhookState.PENDING} & {state, *sources_of(state)}
    move = Webhook.update(
        state=state,
        attempt_count=Webhook.attempt_count + 1,
        last_status_code=status_code,
        last_error=error,
        **_RELEASED,
        **changes,
    ).where(
        _is_at(delivery.job_id, delivery.position),
        Webhook.lease == delivery.lease,
        Webhook.state.in_(sorted(sources)),
    )
    with database.transaction() as transaction:
        _advance(transaction, delivery.job_id)
        if not transaction.execute(move):
            raise LeaseLost("The claim on this webhook is over.")
        transaction.execute(_log_attempt(delivery))
        if delivery.change is not None:
            subscription_rows.record_delivery(
                transaction,
                delivery.client,
                delivery.process_number,
                delivery.url,
                state,
                status_code,
            )
        delivery_limits.record_outcome(
            transaction, delivery.client, delivery.receiver, status_code, is_timeout=is_timeout
        )


def _log_attempt(delivery: WebhookDelivery) -> Any:
    made = Webhook.select(
        Webhook.webhook_id,
        Webhook.attempt_count,
        Webhook.job_id,
        fn.clock_timestamp(),
        Webhook.last_status_code,
        Webhook.last_error,
    ).where(_is_at(delivery.job_id, delivery.position))
    return WebhookAttempt.insert_from(
        made,
        [
            WebhookAttempt.webhook_id,
            WebhookAttempt.number,
            WebhookAttempt.job_id,
            WebhookAttempt.attempt_time,
            WebhookAttempt.status_code,
            WebhookAttempt.error,
        ],
    )


def _advance(transaction: Transaction, job_id: UUID) -> None:
    transaction.changed(job_id, transaction.fetch_one(Job.advance(job_id))["revision"])


def due(database: Database, job_id: UUID) -> list[int]:
    """Return the positions of a job's webhooks that are due now."""
    query = (
        Webhook.select(Webhook.position)
        .where(Webhook.job_id == job_id, _IS_PENDING, _IS_TIME)
        .order_by(Webhook.position)
    )
    with database.transaction() as transaction:
        return [position for (position,) in transaction.fetch(query.tuples())]


def redeliver(
    database: Database, client: str, job_id: UUID, request_id: UUID | None = None
) -> tuple[JobView, bool]:
    """Make every webhook of an ended job due again, under its webhook-id.

    Return the job, and whether this call did it (not an earlier call with the request_id). A
    webhook that is being sent now is not sent twice. Raises NotFound; RequestIdReused;
    PreconditionFailed with JOB_NOT_ENDED or NO_WEBHOOK.
    """
    redelivered = partial(_redelivered, client, job_id, request_id)
    return request_ids.repeated_if_raced(database, redelivered)


def _redelivered(
    client: str, job_id: UUID, request_id: UUID | None, transaction: Transaction
) -> tuple[JobView, bool]:
    again = Webhook.update(
        state=WebhookState.PENDING,
        earlier_attempt_count=Webhook.attempt_count,
        delivered_time=None,
        next_attempt_time=fn.clock_timestamp(),
        **_RELEASED,
    ).where(
        Webhook.job_id == job_id,
        Webhook.event_id.is_null(False),
        Webhook.state.in_(sorted(REDELIVERABLE)),
        _IS_FREE,
    )
    job = job_queries.own(transaction, client, job_id, is_locked=True)
    if request_ids.was_done(transaction, client, request_id, METHOD, job_id):
        return job_queries.view(transaction, job), False
    if job["end_time"] is None:
        raise PreconditionFailed(
            "JOB_NOT_ENDED", "The job has not ended yet; wait for its end.", str(job_id)
        )
    if not transaction.execute(again) and not job_queries.view(transaction, job).webhooks:
        raise PreconditionFailed(
            "NO_WEBHOOK", "The job has no webhook to be sent again.", str(job_id)
        )
    request_ids.record(transaction, client, request_id, METHOD, job_id)
    _advance(transaction, job_id)
    return job_queries.view(transaction, job_queries.own(transaction, client, job_id)), True
