"""What a start needs beside its transaction: a recent listing, a wider job, a hint."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from actors.hints.hints import JobEnded, JobWanted
from server.dependencies import ServerDependencies
from server.rpc.starts.pending_start import PendingStart
from storage.errors import NotFound, ServiceUnavailable
from storage.jobs import job_queries, widening
from storage.jobs.job_start import StartAttempt, StartRequest
from storage.listings import listing_cache
from storage.listings.listing_import import ListingImport
from storage.portal.slots import court_of
from storage.priorities import Priority
from storage.records import JobView
from storage.scheduling import scheduler_readings
from storage.scheduling.row_values import JobRow
from storage.scheduling.scheduler_readings import job_row


def look(parts: ServerDependencies, start: PendingStart, recent: UUID) -> None:
    """Prepare a start from the recent listing of job `recent`, if all its files are stored."""
    start.recent = None
    start.attempt = StartAttempt(start.wanted, may_look=False)
    if listing := _stored_listing(parts, start.wanted, recent):
        start.attempt = StartAttempt(start.wanted, listing, recent, may_look=False)


def widen(parts: ServerDependencies, start: PendingStart, job_id: UUID) -> None:
    """Let the running job of the case want what the call wants."""
    start.wider = None
    widening.widen(
        parts.database,
        parts.objects,
        start.wanted,
        job_id,
        limit_s=parts.reuse_limit_s,
        size_limits=parts.size_limits,
    )
    with suppress(NotFound):
        enqueue_first_step(parts, job_queries.get(parts.database, start.wanted.client, job_id))


def _stored_listing(
    parts: ServerDependencies, wanted: StartRequest, recent: UUID
) -> ListingImport | None:
    try:
        listing = listing_cache.recent_listing(
            parts.database, wanted.client, wanted.process_number, recent
        )
        if listing is None:
            return None
        listing = listing_cache.with_stored(
            parts.database,
            parts.objects,
            listing,
            limit_s=parts.reuse_limit_s,
            wants=wanted.wants,
        )
    except ServiceUnavailable:
        # A worker then checks later which files can be reused.
        return None
    # If only some files are stored, a worker handles the case. Until then, a job with a webhook
    # is PENDING.
    return listing if listing.is_all_stored(wanted.wants) else None


def hint_of(view: JobView) -> JobWanted:
    """Return the hint of a new job."""
    job, begin = view.job, view.job.not_before_time
    return JobWanted(
        JobRow(
            job_id=job.job_id,
            client=job.client,
            priority=Priority(job.priority),
            court=court_of(job.process_number),
            case=job.process_number,
            run_began_at=job.create_time.timestamp(),
            listing_not_before=begin.timestamp() if begin else None,
        )
    )


def enqueue_first_step(parts: ServerDependencies, view: JobView) -> None:
    """Enqueue the webhooks of an ended job; send a hint of any other job to the scheduler."""
    job = view.job
    if job.is_ended:
        parts.messages.send_webhooks(job.job_id, [hook.position for hook in view.webhooks])
        parts.hints.send(JobEnded(job.job_id))
    elif row := scheduler_readings.read_job(parts.database, job.job_id):
        parts.hints.send(JobWanted(job_row(row)))
