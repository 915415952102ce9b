"""Webhooks as rows: claim one that is due, read what it tells, record how the attempt went."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from storage import jobs
from storage.database import Database, Row, Transaction, in_list
from storage.errors import LeaseLost, PreconditionFailed
from storage.records import DocumentRecord, JobRecord, JobView
from storage.states import WebhookState, sources_of
from storage.tallies import LEASES_LOST

# Seconds between one attempt and the next; the first is made at once.
SCHEDULE_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.2
REDELIVERABLE = {WebhookState.PENDING, *sources_of(WebhookState.PENDING)} - {WebhookState.WAITING}
# Deliveries that one receiver has at once, so that a dead one does not hold every thread.
PER_RECEIVER = 4


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook that this process may send while its lease holds, and the event it tells.

    `job` and `documents` are as they were when the run ended; `attempt_count` counts those of
    the present schedule.
    """

    job_id: UUID
    position: int
    lease: UUID
    url: str
    webhook_id: str
    receiver: str
    attempt_count: int
    type: str
    event_time: datetime
    job: JobRecord
    documents: tuple[DocumentRecord, ...]
    traceparent: str | None = None


def claim(database: Database, job_id: UUID, position: int, *, lease_s: float) -> Delivery | None:
    """The webhook, leased for one attempt; None when it is not due or somebody has it."""
    with database.transaction() as transaction:
        before = _if_room(transaction, job_id, position)
        if before is None:
            return None
        hook = transaction.one(
            f"""
            UPDATE webhooks SET lease = %(lease)s,
                lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
            WHERE job_id = %(job_id)s AND position = %(position)s
                AND state = '{WebhookState.PENDING}' AND next_attempt_time <= clock_timestamp()
                AND (lease_until IS NULL OR lease_until < clock_timestamp())
            RETURNING *
            """,
            job_id=job_id,
            position=position,
            lease=uuid4(),
            lease_s=lease_s,
        )
        if hook is None:
            return None
        if before["lease"] is not None:
            transaction.count(LEASES_LOST, "webhook")
        event = transaction.only(
            "SELECT type, event_time, events.job, documents, traceparent"
            " FROM events JOIN jobs USING (job_id) WHERE event_id = %(event_id)s",
            event_id=hook["event_id"],
        )
    return Delivery(
        job_id=job_id,
        position=position,
        lease=hook["lease"],
        url=hook["url"],
        webhook_id=hook["webhook_id"],
        receiver=hook["receiver"],
        attempt_count=hook["attempt_count"] - hook["earlier_attempt_count"],
        type=event["type"],
        event_time=event["event_time"],
        job=JobRecord.of_json(event["job"]),
        documents=tuple(DocumentRecord.of_json(d) for d in event["documents"]),
        traceparent=event["traceparent"],
    )


def _if_room(transaction: Transaction, job_id: UUID, position: int) -> Row | None:
    """The webhook's row, if its receiver may have one more delivery at once."""
    # The lock makes two claims for one receiver count one after the other.
    held = transaction.one(
        "SELECT receiver, lease, pg_advisory_xact_lock(hashtextextended(receiver, 0)) FROM webhooks"
        " WHERE job_id = %(job_id)s AND position = %(position)s",
        job_id=job_id,
        position=position,
    )
    if held is None:
        return None
    busy = transaction.only(
        "SELECT count(*) AS count FROM webhooks WHERE receiver = %(receiver)s"
        " AND lease IS NOT NULL AND lease_until >= clock_timestamp()",
        receiver=held["receiver"],
    )
    return held if busy["count"] < PER_RECEIVER else None


def next_due(database: Database, receiver: str) -> tuple[UUID, int] | None:
    """The webhook of this receiver that has been due longest and that nobody sends."""
    with database.transaction() as transaction:
        row = transaction.one(
            f"SELECT job_id, position FROM webhooks WHERE receiver = %(receiver)s"
            f" AND state = '{WebhookState.PENDING}' AND next_attempt_time <= clock_timestamp()"
            " AND (lease_until IS NULL OR lease_until < clock_timestamp())"
            " ORDER BY next_attempt_time LIMIT 1",
            receiver=receiver,
        )
    return (row["job_id"], row["position"]) if row else None


def delivered(database: Database, delivery: Delivery, status_code: int) -> None:
    """The receiver accepted it. Raises LeaseLost."""
    _record(
        database,
        delivery,
        WebhookState.DELIVERED,
        "delivered_time = clock_timestamp(), next_attempt_time = NULL",
        status_code=status_code,
        error="",
    )


def refused(
    database: Database,
    delivery: Delivery,
    *,
    status_code: int,
    error: str,
    retry_after_s: float | None,
    is_final: bool,
) -> float | None:
    """The attempt failed; seconds until the next, None after the last. Raises LeaseLost.

    `status_code` is 0 when there was no answer; `error` is shown to the caller.
    """
    delay_s = None if is_final else next_delay_s(delivery.attempt_count + 1, retry_after_s)
    if delay_s is None:
        state, then = WebhookState.FAILED, "next_attempt_time = NULL"
    else:
        state = WebhookState.PENDING
        then = "next_attempt_time = clock_timestamp() + %(delay_s)s * interval '1 second'"
    _record(database, delivery, state, then, status_code=status_code, error=error, delay_s=delay_s)
    return delay_s


def next_delay_s(attempts_made: int, retry_after_s: float | None) -> float | None:
    """Seconds until the next attempt; None when the schedule is over.

    The receiver's Retry-After counts between once and twice the planned delay.
    """
    if attempts_made > len(SCHEDULE_S):
        return None
    planned_s = SCHEDULE_S[attempts_made - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return min(2 * planned_s, max(planned_s, retry_after_s or 0))


def _record(
    database: Database,
    delivery: Delivery,
    state: WebhookState,
    assignments: str,
    *,
    status_code: int,
    error: str,
    delay_s: float | None = None,
) -> None:
    # An attempt that will be made again is no move: the row stays PENDING.
    sources = {WebhookState.PENDING} & {state, *sources_of(state)}
    with database.transaction() as transaction:
        _advance_job(transaction, delivery.job_id)
        done = transaction.run(
            f"""
            UPDATE webhooks SET state = '{state}', attempt_count = attempt_count + 1,
                last_status_code = %(status_code)s, last_error = %(error)s,
                lease = NULL, lease_until = NULL,
                nudge_count = 0, nudge_time = NULL, {assignments}
            WHERE job_id = %(job_id)s AND position = %(position)s AND lease = %(lease)s
                AND state IN ({in_list(sorted(sources))})
            """,
            job_id=delivery.job_id,
            position=delivery.position,
            lease=delivery.lease,
            status_code=status_code,
            error=error,
            delay_s=delay_s,
        )
        if not done:
            raise LeaseLost("The claim on this webhook is no longer ours.")
        transaction.run(
            "INSERT INTO webhook_attempts (webhook_id, number, job_id, attempt_time, status_code,"
            " error) SELECT webhook_id, attempt_count, job_id, clock_timestamp(),"
            " last_status_code, last_error FROM webhooks"
            " WHERE job_id = %(job_id)s AND position = %(position)s",
            job_id=delivery.job_id,
            position=delivery.position,
        )


def _advance_job(transaction: Transaction, job_id: UUID) -> None:
    job = transaction.only(
        "UPDATE jobs SET revision = revision + 1, update_time = clock_timestamp()"
        " WHERE job_id = %(job_id)s RETURNING revision",
        job_id=job_id,
    )
    transaction.changed(job_id, job["revision"])


def due(database: Database, job_id: UUID) -> list[int]:
    """The positions of a job's webhooks that are due now."""
    with database.transaction() as transaction:
        rows: list[Row] = transaction.all(
            f"SELECT position FROM webhooks WHERE job_id = %(job_id)s"
            f" AND state = '{WebhookState.PENDING}' AND next_attempt_time <= clock_timestamp()"
            " ORDER BY position",
            job_id=job_id,
        )
    return [row["position"] for row in rows]


def redeliver(database: Database, client: str, job_id: UUID) -> JobView:
    """Makes every webhook of an ended job due again, under its webhook-id; the job as it then is.

    One that is being sent in this moment is not sent twice. Raises NotFound; PreconditionFailed
    with JOB_NOT_ENDED or NO_WEBHOOK.
    """
    with database.transaction() as transaction:
        job = jobs.own(transaction, client, job_id, is_locked=True)
        if job["end_time"] is None:
            raise PreconditionFailed(
                "JOB_NOT_ENDED", "The job has not ended yet; wait for its end.", str(job_id)
            )
        due = transaction.run(
            f"""
            UPDATE webhooks SET state = '{WebhookState.PENDING}',
                earlier_attempt_count = attempt_count, delivered_time = NULL,
                next_attempt_time = clock_timestamp(), lease = NULL, lease_until = NULL,
                nudge_count = 0, nudge_time = NULL
            WHERE job_id = %(job_id)s AND event_id IS NOT NULL
                AND state IN ({in_list(sorted(REDELIVERABLE))})
                AND (lease IS NULL OR lease_until < clock_timestamp())
            """,
            job_id=job_id,
        )
        if not due and not jobs.view(transaction, job).webhooks:
            raise PreconditionFailed(
                "NO_WEBHOOK", "The job has no webhook to be sent again.", str(job_id)
            )
        _advance_job(transaction, job_id)
        return jobs.view(transaction, jobs.own(transaction, client, job_id))
