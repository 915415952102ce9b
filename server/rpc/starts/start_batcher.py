"""StartDownload: one transaction starts the jobs of all concurrent calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from actors.hints.hints import JobEnded, JobWanted
from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from server.messages.job_messages import message_of
from server.queue.queue_position_cache import MOST_WAITS, QueuePositionCache
from server.queue.queue_view import QueueStatus
from server.runtime.blocking_executor import RunBlocking
from server.runtime.request_coalescer import RequestCoalescer
from server.runtime.row_waits import RowWaits
from storage import logs
from storage.clients.client_registry import CallingClient
from storage.errors import CallerError, LimitReached, NotFound, RowsLocked, ServiceUnavailable
from storage.jobs import job_queries, widening
from storage.jobs.job_start import (
    How,
    StartAnswer,
    StartAttempt,
    StartRequest,
    required,
    start_jobs,
)
from storage.listings import listing_cache
from storage.listings.listing_import import ListingImport
from storage.portal.slots import court_of
from storage.priorities import Priority
from storage.records import JobRecord, JobView
from storage.scheduling import scheduler_readings
from storage.scheduling.row_values import JobRow
from storage.scheduling.scheduler_readings import job_row

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The maximum number of jobs that one transaction starts: other transactions wait for its locks.
STARTS_TOGETHER = 128
# If a request finds the rows of its case locked this often, it runs in its own transaction, which
# waits for the locks: see row_waits.
BUSY_TOGETHER = 5
BUSY_PAUSE_S = 0.01
# Seconds that a stopping server waits until its hints are sent. Its threads may be blocked by a
# frozen database. The scheduler finds new jobs without hints too.
SETTLE_S = 1.0


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


class StartBatcher:
    """Starts jobs. Concurrent calls share transactions, log output and hints."""

    def __init__(
        self,
        parts: ServerDependencies,
        run: RunBlocking,
        waits: RowWaits,
        places: QueuePositionCache,
    ) -> None:
        self._parts = parts
        self._run = run
        self._waits = waits
        self._places = places
        self._submitted: RequestCoalescer[PendingStart, StartedJob] = RequestCoalescer(
            self._begin_all
        )
        self._hints: RequestCoalescer[JobWanted, None] = RequestCoalescer(self._send_hints)

    async def begin(self, client: CallingClient, wanted: StartRequest) -> StartedJob:
        """Return the job that serves a call.

        The call does not wait for the scheduler, which reads new jobs once a second.
        Raises LimitReached, RequestIdReused, and ServiceUnavailable without PostgreSQL.
        """
        start = PendingStart(client, wanted)
        try:
            while True:
                if begun := await self._answered(start):
                    await self._enqueue_ended([begun])
                    return begun
                await self._prepare(start)
        except asyncio.CancelledError:
            start.is_gone = True
            raise

    async def begin_many(
        self, client: CallingClient, wanted: Sequence[StartRequest]
    ) -> list[StartedJob | CallerError | None]:
        """Return the job that serves each request, or why it was refused; None if it is recorded.

        The caller has counted the starts. Raises ServiceUnavailable: then some requests may have
        their jobs.
        """
        starts = [PendingStart(client, each, is_counted=True) for each in wanted]
        begun: dict[PendingStart, StartedJob] = {}
        try:
            left = starts
            while left:
                some = await self._begin_all([each for each in left if not _is_alone(each)])
                begun |= some
                await self._enqueue_ended(some.values())
                left = [each for each in left if each not in begun and not _is_over(each)]
                await asyncio.gather(*(self._advance(each, begun) for each in left))
                left = [each for each in left if each not in begun and not _is_over(each)]
        except asyncio.CancelledError:
            for each in starts:
                each.is_gone = True
            raise
        return [each.refusal or begun.get(each) for each in starts]

    async def _advance(self, start: PendingStart, begun: dict[PendingStart, StartedJob]) -> None:
        """Prepare the next attempt of a start that has none with others, or make it alone."""
        try:
            if not _is_alone(start):
                await self._prepare(start)
            elif answer := await self._answered(start):
                begun[start] = answer
                await self._enqueue_ended([answer])
            elif not _is_over(start):
                await self._prepare(start)
        except CallerError as error:
            # Of this request only: the others of the batch go on.
            start.refusal = error

    async def _prepare(self, start: PendingStart) -> None:
        """Do what the next attempt of a start needs. Raises InvalidRequest."""
        if recent := start.recent:
            await self._run(self._look, start, recent)
        elif wider := start.wider:
            await self._run(self._widen, start, wider)
        elif start.busy_count:
            await asyncio.sleep(BUSY_PAUSE_S)

    async def _enqueue_ended(self, begun: Iterable[StartedJob]) -> None:
        """Enqueue the webhooks of new jobs that have ended already."""
        for each in begun:
            if each.is_new and each.view.job.is_ended:
                await self._run(enqueue_first_step, self._parts, each.view)

    async def settled(self) -> None:
        """Return when the hints of all started jobs are sent, after SETTLE_S at the latest."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hints.settled(), SETTLE_S)

    async def _answered(self, start: PendingStart) -> StartedJob | None:
        """Start the job of a call, in a batch if it may. None: the call must try again."""
        if _is_alone(start):
            case = (start.wanted.client, start.wanted.process_number)
            begun: StartedJob | None = await self._waits.run(case, self._alone, start)
            if begun and _is_to_be_listed(begun):
                self._hints.ask(_wanted(begun.view))
        else:
            begun = await self._submitted.ask(start)
        if start.refusal is not None:
            raise start.refusal
        return begun

    async def _begin_all(self, pending: list[PendingStart]) -> dict[PendingStart, StartedJob]:
        begun: dict[PendingStart, StartedJob] = {}
        for i in range(0, len(pending), STARTS_TOGETHER):
            some: dict[PendingStart, StartedJob] = await self._run(
                self._together, pending[i : i + STARTS_TOGETHER]
            )
            begun |= some
            for each in some.values():
                if _is_to_be_listed(each):
                    self._hints.ask(_wanted(each.view))
        return begun

    async def _send_hints(self, hints: list[JobWanted]) -> dict[JobWanted, None]:
        """Send hints of new jobs to the scheduler, which reads jobs without hints within 1 s."""
        try:
            await self._run(self._parts.hints.send, *hints)
        except Exception:
            log.exception("hints not sent")
        return {}

    def _together(self, pending: Sequence[PendingStart]) -> dict[PendingStart, StartedJob]:
        """Start the jobs of several calls. If that fails, each call repeats it alone."""
        allowed = self._allowed(pending)
        if not allowed:
            return {}
        try:
            return self._begin(allowed)
        except RowsLocked:
            for start in allowed:
                start.busy_count += 1
        except Exception as error:
            if isinstance(error, ServiceUnavailable):
                log.warning("jobs not started together", part=error.part)
            else:
                log.exception("jobs not started together")
            for start in allowed:
                start.goes_alone = True
        return {}

    def _alone(self, start: PendingStart) -> StartedJob | None:
        """Start the job of one call. Raises RowsLocked if its rows stay locked for a moment."""
        return None if start.is_gone else self._begin([start]).get(start)

    def _begin(self, pending: Sequence[PendingStart]) -> dict[PendingStart, StartedJob]:
        """Return the jobs of the calls that got one. Record in each other call why it got none."""
        answers = start_jobs(
            self._parts.database,
            [start.attempt for start in pending],
            job_deadline_s=self._parts.job_deadline_s,
        )
        found: dict[PendingStart, tuple[JobView, bool]] = {}
        for start, answer in zip(pending, answers, strict=True):
            if view := _noted(start, answer):
                found[start] = view, answer.how is How.NEW
        places = self._places_at_hand(
            [view.job for view, is_new in found.values() if is_new and not view.job.is_ended]
        )
        # One batch takes a quarter of the time of separate calls.
        with logs.together():
            return {
                start: start.context.run(
                    _logged,
                    view,
                    places.get(view.job.job_id),
                    is_new=is_new,
                    is_of_batch=start.wanted.batch is not None,
                )
                for start, (view, is_new) in found.items()
            }

    def _allowed(self, pending: Sequence[PendingStart]) -> list[PendingStart]:
        pending = [start for start in pending if not start.is_gone]
        for start in pending:
            try:
                limits = start.client.limits
                if limits and not start.is_counted:
                    self._parts.start_rate.count(start.client.name, limits.starts_per_minute)
                start.is_counted = True
            except LimitReached as error:
                start.refusal = error
        return [start for start in pending if start.refusal is None]

    def _places_at_hand(self, jobs: Sequence[JobRecord]) -> dict[UUID, QueueStatus]:
        """Return the queue status of new jobs, for all calls that do not wait for a position.

        The calls of the jobs left out wait until the scheduler publishes their positions.
        """
        at_hand = jobs if self._places.is_busy() else jobs[MOST_WAITS:]
        self._places.note_unknown(len(at_hand))
        return self._parts.queue.held({job.job_id: court_of(job.process_number) for job in at_hand})

    def _look(self, start: PendingStart, recent: UUID) -> None:
        """Prepare a start from the recent listing of job `recent`, if all its files are stored."""
        start.recent = None
        start.attempt = StartAttempt(start.wanted, may_look=False)
        if listing := self._stored_listing(start.wanted, recent):
            start.attempt = StartAttempt(start.wanted, listing, recent, may_look=False)

    def _widen(self, start: PendingStart, job_id: UUID) -> None:
        """Let the running job of the case want what the call wants."""
        start.wider = None
        parts = self._parts
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

    def _stored_listing(self, wanted: StartRequest, recent: UUID) -> ListingImport | None:
        parts = self._parts
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


def _noted(start: PendingStart, answer: StartAnswer) -> JobView | None:
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


def _is_alone(start: PendingStart) -> bool:
    """Return whether a start needs a transaction of its own."""
    return start.goes_alone or start.busy_count >= BUSY_TOGETHER


def _is_over(start: PendingStart) -> bool:
    """Return whether a start gets no job of this call."""
    return start.refusal is not None or start.is_recorded


def _is_to_be_listed(begun: StartedJob) -> bool:
    return begun.is_new and not begun.view.job.is_ended


def _wanted(view: JobView) -> JobWanted:
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


def _logged(
    view: JobView, place: QueueStatus | None, *, is_new: bool, is_of_batch: bool
) -> StartedJob:
    """Log a job and make its message. The job is committed, so an error here is only logged."""
    try:
        # A batch has one line; the row of each of its jobs names it.
        if not is_of_batch:
            log.info("job started" if is_new else "job joined", job_id=str(view.job.job_id))
        return StartedJob(view, is_new, None if place is None else message_of(view, place))
    except Exception:
        log.exception("message not made", job_id=str(view.job.job_id))
        return StartedJob(view, is_new)
