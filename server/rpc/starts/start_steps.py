"""A StartDownload call until it has its job, and what it needs beside its transaction.

That is a recent listing, a wider job, or a hint.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from uuid import UUID

from actors.hints.hints import JobEnded, JobWanted
from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from storage.clients.client_registry import CallingClient
from storage.errors import CallerError, NotFound, ServiceUnavailable
from storage.jobs import job_queries, widening
from storage.jobs.job_start import How, StartAnswer, StartAttempt, StartRequest, required
from storage.listings import listing_cache
from storage.listings.listing_import import ListingImport
from storage.portal.slots import court_of
from storage.priorities import Priority
from storage.records import JobView
from storage.scheduling import scheduler_readings
from storage.scheduling.row_values import JobRow
from storage.scheduling.scheduler_readings import job_row

# If a request finds the rows of its case locked this often, it runs in its own transaction, which
# waits for the locks: see RowWaits.
BUSY_TOGETHER = 5


@dataclass(slots=True, eq=False)
class PendingStart:
    """A StartDownload call that has no job yet.

    `refusal`: the error that the call raises. `is_gone`: the call has ended. `recent`: the job with
    a recent listing of the case, until that listing is read. `wider`: the running job of the case
    that does not want all of it, until it does. `busy_count`: how often another
    transaction had locked the case. `goes_alone`: the call needs a transaction of its own.
    """

    client: CallingClient
    wanted: StartRequest
    attempt: StartAttempt = field(init=False)
    refusal: CallerError | None = None
    recent: UUID | None = None
    wider: UUID | None = None
    busy_count: int = 0
    goes_alone: bool = False
    is_counted: bool = False
    is_gone: bool = False
    # The batch of the request has its result, which another call recorded.
    is_recorded: bool = False
    # The log line of each call in a batch has the bindings of that call.
    context: Context = field(default_factory=copy_context)

    def __post_init__(self) -> None:
        self.attempt = StartAttempt(self.wanted)


@dataclass(frozen=True, slots=True)
class StartedJob:
    """The job of a call. `message`: its serializable form if its queue status was known."""

    view: JobView
    is_new: bool
    message: pb.Job | None = None


def note_answer(start: PendingStart, answer: StartAnswer) -> JobView | None:
    """Return the job of an answer, or record in the call why there is none."""
    if answer.how is How.BUSY:
        start.busy_count += 1
        return None
    if answer.how is How.RECORDED:
        start.is_recorded = True
        return None
    if answer.how in {How.LOOK, How.WIDER}:
        start.recent, start.wider = answer.recent, answer.wider
        return None
    try:
        return required(start.wanted, answer)
    except CallerError as error:
        start.refusal = error
        return None


def is_alone(start: PendingStart) -> bool:
    """Return whether a start needs a transaction of its own."""
    return start.goes_alone or start.busy_count >= BUSY_TOGETHER


def is_over(start: PendingStart) -> bool:
    """Return whether a start gets no job of this call."""
    return start.refusal is not None or start.is_recorded


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
