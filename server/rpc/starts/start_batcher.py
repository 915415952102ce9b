"""StartDownload: one transaction starts the jobs of all concurrent calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from actors.hints.hints import JobWanted
from server.dependencies import ServerDependencies
from server.messages import message_of
from server.queue.queue_position_cache import MOST_WAITS, QueuePositionCache
from server.queue.queue_view import QueueStatus
from server.rpc.starts import start_steps
from server.rpc.starts.start_steps import (
    PendingStart,
    StartedJob,
    hint_of,
    is_alone,
    is_over,
    look,
    note_answer,
    widen,
)
from server.runtime.fair_executor import RowWaits, RunBlocking
from server.runtime.request_coalescer import RequestCoalescer
from storage import logs
from storage.clients.client_registry import CallingClient
from storage.errors import CallerError, LimitReached, RowsLocked, ServiceUnavailable
from storage.jobs.job_start import How, StartRequest, start_jobs
from storage.portal.slots import court_of
from storage.records import JobRecord, JobView

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The maximum number of jobs that one transaction starts: other transactions wait for its locks.
STARTS_TOGETHER = 128
BUSY_PAUSE_S = 0.01
# Seconds that a stopping server waits until its hints are sent. Its threads may be blocked by a
# frozen database. The scheduler finds new jobs without hints too.
SETTLE_S = 1.0


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
                some = await self._begin_all([each for each in left if not is_alone(each)])
                begun |= some
                await self._enqueue_ended(some.values())
                left = [each for each in left if each not in begun and not is_over(each)]
                await asyncio.gather(*(self._advance(each, begun) for each in left))
                left = [each for each in left if each not in begun and not is_over(each)]
        except asyncio.CancelledError:
            for each in starts:
                each.is_gone = True
            raise
        return [each.refusal or begun.get(each) for each in starts]

    async def _advance(self, start: PendingStart, begun: dict[PendingStart, StartedJob]) -> None:
        """Prepare the next attempt of a start that has none with others, or make it alone."""
        try:
            if not is_alone(start):
                await self._prepare(start)
            elif answer := await self._answered(start):
                begun[start] = answer
                await self._enqueue_ended([answer])
            elif not is_over(start):
                await self._prepare(start)
        except CallerError as error:
            # Of this request only: the others of the batch go on.
            start.refusal = error

    async def _prepare(self, start: PendingStart) -> None:
        """Do what the next attempt of a start needs. Raises InvalidRequest."""
        if recent := start.recent:
            await self._run(look, self._parts, start, recent)
        elif wider := start.wider:
            await self._run(widen, self._parts, start, wider)
        elif start.busy_count:
            await asyncio.sleep(BUSY_PAUSE_S)

    async def _enqueue_ended(self, begun: Iterable[StartedJob]) -> None:
        """Enqueue the webhooks of new jobs that have ended already."""
        for each in begun:
            if each.is_new and each.view.job.is_ended:
                await self._run(start_steps.enqueue_first_step, self._parts, each.view)

    async def settled(self) -> None:
        """Return when the hints of all started jobs are sent, after SETTLE_S at the latest."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hints.settled(), SETTLE_S)

    async def _answered(self, start: PendingStart) -> StartedJob | None:
        """Start the job of a call, in a batch if it may. None: the call must try again."""
        if is_alone(start):
            case = (start.wanted.client, start.wanted.process_number)
            loop = asyncio.get_running_loop()
            begun: StartedJob | None = await self._waits.run(case, self._alone, start, loop)
        else:
            begun = await self._submitted.ask(start)
        if start.refusal is not None:
            raise start.refusal
        return begun

    async def _begin_all(self, pending: list[PendingStart]) -> dict[PendingStart, StartedJob]:
        begun: dict[PendingStart, StartedJob] = {}
        loop = asyncio.get_running_loop()
        for i in range(0, len(pending), STARTS_TOGETHER):
            begun |= await self._run(self._together, pending[i : i + STARTS_TOGETHER], loop)
        return begun

    def _ask_hints(self, hints: Iterable[JobWanted]) -> None:
        for hint in hints:
            self._hints.ask(hint)

    async def _send_hints(self, hints: list[JobWanted]) -> dict[JobWanted, None]:
        """Send hints of new jobs to the scheduler, which reads jobs without hints within 1 s."""
        try:
            await self._run(self._parts.hints.send, *hints)
        except Exception:
            log.exception("hints not sent")
        return {}

    def _together(
        self, pending: Sequence[PendingStart], loop: asyncio.AbstractEventLoop
    ) -> dict[PendingStart, StartedJob]:
        """Start the jobs of several calls. If that fails, each call repeats it alone."""
        allowed = self._allowed(pending)
        if not allowed:
            return {}
        try:
            return self._begin(allowed, loop)
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

    def _alone(self, start: PendingStart, loop: asyncio.AbstractEventLoop) -> StartedJob | None:
        """Start the job of one call. Raises RowsLocked if its rows stay locked for a moment."""
        return None if start.is_gone else self._begin([start], loop).get(start)

    def _begin(
        self, pending: Sequence[PendingStart], loop: asyncio.AbstractEventLoop
    ) -> dict[PendingStart, StartedJob]:
        """Return the jobs of the calls that got one. Record in each other call why it got none.

        The hints of new jobs are sent from `loop` while this thread makes the answers.
        """
        answers = start_jobs(
            self._parts.database,
            [start.attempt for start in pending],
            job_deadline_s=self._parts.job_deadline_s,
        )
        found: dict[PendingStart, tuple[JobView, bool]] = {}
        for start, answer in zip(pending, answers, strict=True):
            if view := note_answer(start, answer):
                found[start] = view, answer.how is How.NEW
        new = [view for view, is_new in found.values() if is_new and not view.job.is_ended]
        loop.call_soon_threadsafe(self._ask_hints, [hint_of(view) for view in new])
        places = self._places_at_hand([view.job for view in new])
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

        The calls of the jobs left out wait until the scheduler publishes their positions. None
        waits while new jobs are served at once.
        """
        is_busy = self._places.is_busy()
        if not is_busy and self._parts.queue.is_idle():
            at_hand = jobs
        else:
            at_hand = jobs if is_busy else jobs[MOST_WAITS:]
            self._places.note_unknown(len(at_hand))
        return self._parts.queue.held({job.job_id: court_of(job.process_number) for job in at_hand})


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
