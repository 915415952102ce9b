"""Rerun the failed documents of an ended job: a new run of the same job."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from peewee import Case, fn

from storage import sql
from storage.clients.client_registry import EVERY_CASE, CaseAccess
from storage.errors import (
    CaseNotAllowed,
    LimitReached,
    PreconditionFailed,
    ServiceUnavailable,
)
from storage.events import event_log
from storage.job_end.completion import complete_if_done
from storage.jobs import request_ids
from storage.jobs.job_queries import own, view
from storage.jobs.rerun_documents import NO_ERROR, carry_over, reset_documents
from storage.listings import listing_cache
from storage.listings.listing_cache import is_listing_sealed
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.models import Job, Webhook
from storage.models.base import time_after
from storage.models.job import IS_NO_LOOK, RUNNING
from storage.models.webhook import CHANGE_POSITION
from storage.objects.object_store import Objects
from storage.postgres.database import Database, Row, Transaction
from storage.records import JobView
from storage.states import JobState, WebhookState, sources_of

METHOD = "RetryJob"


class _NotLookedUp(Exception):
    """Other jobs stored failed documents, and the bucket was not checked yet."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        self.sizes = sizes


def rerun(
    database: Database,
    objects: Objects,
    client: str,
    job_id: UUID,
    *,
    request_id: UUID | None,
    job_deadline_s: int,
    limit_s: float,
    traceparent: str | None = None,
    jobs_at_once: int | None = None,
    size_limits: SizeLimits = UNLIMITED,
    access: CaseAccess = EVERY_CASE,
) -> tuple[JobView, bool]:
    """Return the job in a new run, and whether this call began it (not an earlier one).

    If another job has stored a failed document since, its object is reused instead of a new
    request. If no other document failed, the run ends at once. The call waits at most `limit_s`
    seconds for the bucket's answer. Raises NotFound; PreconditionFailed with JOB_NOT_ENDED,
    NOTHING_TO_RETRY, or CASE_ACTIVE if another job of the case is running; RequestIdReused;
    LimitReached if the client has `jobs_at_once` other running jobs; CaseNotAllowed if the client
    may not request the case any more.
    """
    in_bucket: dict[str, bool] = {}
    begin = partial(
        _rerun,
        client,
        job_id,
        request_id,
        job_deadline_s,
        traceparent,
        in_bucket,
        jobs_at_once,
        size_limits,
        access,
    )
    while True:
        try:
            return request_ids.repeated_if_raced(database, begin)
        except _NotLookedUp as found:
            # No lock and no connection is held here. Another job may store more meanwhile, so the
            # next round looks again.
            in_bucket |= _look_up(objects, found.sizes, limit_s)


def _look_up(objects: Objects, sizes: dict[str, int], limit_s: float) -> dict[str, bool]:
    try:
        there = objects.present(sizes, limit_s=limit_s)
    except ServiceUnavailable:
        # Then the document is fetched, as if no other job had stored it.
        there = set()
    return {key: key in there for key in sizes}


def _rerun(
    client: str,
    job_id: UUID,
    request_id: UUID | None,
    job_deadline_s: int,
    traceparent: str | None,
    in_bucket: Mapping[str, bool],
    jobs_at_once: int | None,
    size_limits: SizeLimits,
    access: CaseAccess,
    transaction: Transaction,
) -> tuple[JobView, bool]:
    job = own(transaction, client, job_id, is_locked=True)
    if request_ids.was_done(transaction, client, request_id, METHOD, job_id):
        return view(transaction, job), False
    _require_access(transaction, access, job)
    _require_ended(transaction, job)
    event_log.supersede(transaction, job_id, job["run"])
    carried = carry_over(transaction, job, _stored_since(transaction, job, in_bucket))
    failed = reset_documents(transaction, job, job["revision"] + len(carried), size_limits)
    could_not_list = job["state"] == JobState.FAILED and job["total_documents"] is None
    if not carried and not failed and not could_not_list:
        raise PreconditionFailed(
            "NOTHING_TO_RETRY",
            "No wanted document of this job failed in a way to retry.",
            str(job_id),
        )
    seat = None
    if jobs_at_once is not None and (failed or could_not_list):
        seat = _acquire_job_permit(transaction, client, jobs_at_once)
    _supersede_webhooks(transaction, job)
    policy = {"seat": seat, "refuses_sealed": access.refuses_sealed}
    reopened = _reopen(transaction, job, carried, failed, job_deadline_s, traceparent, policy)
    job = complete_if_done(transaction, reopened)
    request_ids.record(transaction, client, request_id, METHOD, job_id)
    return view(transaction, job), True


def _acquire_job_permit(transaction: Transaction, client: str, seats: int) -> int:
    row = transaction.only(
        sql.function("free_seat").call, client=client, seats=seats, is_waiting=False
    )
    seat: int | None = next(iter(row.values()))
    if seat is None:
        raise LimitReached("jobs_at_once", client, seats)
    return seat


def _require_access(transaction: Transaction, access: CaseAccess, job: Row) -> None:
    """Raise CaseNotAllowed for what StartDownload would refuse, or end with nothing, by now."""
    access.require(job["process_number"])
    if access.refuses_sealed and is_listing_sealed(transaction, job):
        raise CaseNotAllowed


def _require_ended(transaction: Transaction, job: Row) -> None:
    if job["end_time"] is None:
        raise PreconditionFailed(
            "JOB_NOT_ENDED", "The job has not ended yet; wait for its end.", str(job["job_id"])
        )
    running = transaction.fetch_one(
        Job.select(Job.job_id)
        .where(
            Job.client == job["client"],
            Job.process_number == job["process_number"],
            Job.state.in_(RUNNING),
            IS_NO_LOOK,
        )
        .dicts()
    )
    if running:
        raise PreconditionFailed(
            "CASE_ACTIVE",
            f"Job {running['job_id']} of the same case is running; wait for its end.",
            str(running["job_id"]),
        )


def _stored_since(transaction: Transaction, job: Row, in_bucket: Mapping[str, bool]) -> list[str]:
    """Return the keys of failed documents that other jobs stored and the bucket holds.

    The caller holds the job's lock and no other job of the case is running, so none is missed.
    Raises _NotLookedUp.
    """
    sizes = listing_cache.stored_of_failed(transaction, job["job_id"])
    unknown = {key: size for key, size in sizes.items() if key not in in_bucket}
    if unknown:
        raise _NotLookedUp(unknown)
    return [key for key in sizes if in_bucket[key]]


def _supersede_webhooks(transaction: Transaction, job: Row) -> None:
    transaction.execute(
        Webhook.update(
            state=WebhookState.WAITING,
            event_id=None,
            webhook_id=None,
            attempt_count=0,
            earlier_attempt_count=0,
            last_status_code=0,
            last_error="",
            delivered_time=None,
            next_attempt_time=None,
            lease=None,
            lease_until=None,
            nudge_count=0,
            nudge_time=None,
        ).where(
            Webhook.job_id == job["job_id"],
            Webhook.position > CHANGE_POSITION,
            Webhook.state.in_(sources_of(WebhookState.WAITING)),
        )
    )


def _reopen(
    transaction: Transaction,
    job: Row,
    carried: list[int],
    failed: int,
    job_deadline_s: int,
    traceparent: str | None,
    policy: Mapping[str, Any],
) -> Row:
    now = fn.clock_timestamp()
    row: Row = transaction.fetch_one(
        Job.update(
            state=JobState.PROCESSING,
            run=Job.run + 1,
            revision=Job.revision + len(carried) + failed + 1,
            failed_documents=Job.failed_documents - len(carried) - failed,
            completed_documents=Job.completed_documents + len(carried),
            reused_documents=Job.reused_documents + len(carried),
            stored_bytes=Job.stored_bytes + sum(carried),
            end_time=None,
            **NO_ERROR,
            update_time=now,
            rerun_time=now,
            deadline_time=time_after(job_deadline_s),
            listing_attempt_count=0,
            listing_pause_count=0,
            listing_lost_count=0,
            listing_failing_since=None,
            budget_wait_time=None,
            budget_scope=None,
            # A doubt stays after the run only if the listing stays.
            listing_doubt_time=Case(
                None, [(Job.listed_time.is_null(False), Job.listing_doubt_time)]
            ),
            traceparent=traceparent,
            **policy,
        )
        .where(
            Job.job_id == job["job_id"],
            Job.state.in_(sources_of(JobState.PROCESSING)),
        )
        .returning(Job)
        .dicts()
    )
    transaction.changed(row["job_id"], row["revision"])
    return row
