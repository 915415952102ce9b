"""StartDownload: new jobs for all who call at the same time, and what serves the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from proto import downloads_pb2 as pb
from server.batches import Batches
from server.clients import Client
from server.job_messages import message_of
from server.parts import Parts
from server.pool import Run
from storage import jobs, logs, reuse, starts
from storage.errors import LimitReached, ServiceUnavailable
from storage.jobs import StartRequest
from storage.listings.listing_import import ListingImport
from storage.queue_view import Place
from storage.records import JobView

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Above this many documents a known listing is left to a worker: the call must stay short.
MAX_DOCUMENTS_IN_CALL = 500
# How many jobs one transaction begins at most: it holds what others may wait for.
STARTS_TOGETHER = 128
# How long a server that stops waits for workers to be told. Its threads may hang at a database that
# has been frozen, and the clock tells workers all the same.
SETTLE_S = 1.0


@dataclass(slots=True, eq=False)
class Start:
    """A StartDownload. `refused`: the client makes too many; `is_gone`: nobody waits for it."""

    client: Client
    wanted: StartRequest
    refused: LimitReached | None = None
    is_gone: bool = False
    # For the log: those that are served together are told of each as its own.
    context: Context = field(default_factory=copy_context)


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that a call has got. `message`: made with those of others, if the queue was known."""

    view: JobView
    is_new: bool
    message: pb.Job | None = None


class Starts:
    """Begins jobs. What many calls have in common is done once for all of them."""

    def __init__(self, parts: Parts, run: Run) -> None:
        self._parts = parts
        self._run = run
        self._fresh: Batches[Start, Begun] = Batches(self._begin_fresh)
        self._wakes: Batches[UUID, None] = Batches(self._wake)

    async def begin(self, client: Client, wanted: StartRequest) -> Begun:
        """The job that serves a call, new or not. Raises LimitReached, and what `jobs.start` does.

        Nobody waits for it to be told to workers; if it never is, the clock does so.
        """
        start = Start(client, wanted)
        try:
            begun = await self._fresh.ask(start)
        except asyncio.CancelledError:
            start.is_gone = True
            raise
        if start.refused is not None:
            raise start.refused
        if begun is not None:
            return begun
        joined: Begun = await self._run(self._begin, wanted)
        return joined

    async def settled(self) -> None:
        """Returns when workers have been told of all that was begun, or cannot be told soon."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wakes.settled(), SETTLE_S)

    async def _begin_fresh(self, asked: list[Start]) -> dict[Start, Begun]:
        begun: dict[Start, Begun] = {}
        for i in range(0, len(asked), STARTS_TOGETHER):
            some: dict[Start, Begun] = await self._run(
                self._some_fresh, asked[i : i + STARTS_TOGETHER]
            )
            begun |= some
            if some:
                self._wakes.ask(next(iter(some.values())).view.job.job_id)
        return begun

    async def _wake(self, job_ids: list[UUID]) -> dict[UUID, None]:
        """Has the cases of new jobs listed: who comes for one of them finds the others."""
        try:
            await self._run(self._parts.messages.wake_lanes, job_ids[0])
        except Exception:
            log.exception("nobody woken")
        return {}

    def _some_fresh(self, asked: Sequence[Start]) -> dict[Start, Begun]:
        """New jobs, for those whom nothing serves that is there already."""
        allowed = self._allowed(asked)
        if not allowed:
            return {}
        try:
            views = starts.start_fresh(
                self._parts.database,
                [start.wanted for start in allowed],
                job_deadline_s=self._parts.job_deadline_s,
            )
        except Exception as error:  # noqa: BLE001 - each finds out by itself what is wrong
            log.debug("not started together", error=type(error).__name__)
            return {}
        found = {start: view for start, view in zip(allowed, views, strict=True) if view}
        places = self._places_at_hand([view.job.job_id for view in found.values()])
        # All in one go takes a quarter of what it takes in each call.
        with logs.together():
            return {
                start: start.context.run(_told, view, places.get(view.job.job_id))
                for start, view in found.items()
            }

    def _allowed(self, asked: Sequence[Start]) -> list[Start]:
        asked = [start for start in asked if not start.is_gone]
        for start in asked:
            try:
                if limits := start.client.limits:
                    self._parts.start_rate.count(start.client.name, limits.starts_per_minute)
            except LimitReached as error:
                start.refused = error
        return [start for start in asked if start.refused is None]

    def _places_at_hand(self, job_ids: Sequence[UUID]) -> dict[UUID, Place]:
        """Where new jobs stand, as far as was seen: those who are left out have to look."""
        queue = self._parts.queue
        if queue.is_fresh:
            return queue.seen(job_ids)
        # One is enough, and the others need not wait for him.
        return queue.seen(job_ids[1:]) if queue.has_looked else {}

    def _begin(self, wanted: StartRequest) -> Begun:
        view, is_new = jobs.start(
            self._parts.database,
            wanted,
            job_deadline_s=self._parts.job_deadline_s,
            known=self._known(wanted),
        )
        if is_new:
            launch(self._parts, view)
        _tell(view, is_new=is_new)
        return Begun(view, is_new)

    def _known(self, wanted: StartRequest) -> ListingImport | None:
        parts = self._parts
        if jobs.is_served(parts.database, wanted):
            return None
        try:
            listing = reuse.recent_listing(
                parts.database,
                wanted.client,
                wanted.process_number,
                max_age_s=wanted.max_age_s,
                most=MAX_DOCUMENTS_IN_CALL,
            )
            if listing is None:
                return None
            listing = reuse.with_stored(
                parts.database, parts.objects, listing, limit_s=parts.reuse_limit_s
            )
        except ServiceUnavailable:
            # Whether something can be reused is then found out by a worker, later.
            return None
        # A part of a case is a worker's: a job with a webhook is PENDING until one begins.
        return listing if listing.is_all_stored else None


def launch(parts: Parts, view: JobView) -> None:
    """Has what a job needs next be done."""
    job, messages = view.job, parts.messages
    if job.is_ended:
        messages.send_webhooks(job.job_id, range(len(view.webhooks)))
    elif job.total_documents is None:
        messages.list_documents(job.job_id)
    else:
        messages.download_lanes(job.job_id, min(parts.lanes, job.total_documents))


def _told(view: JobView, place: Place | None) -> Begun:
    """A new job. It is committed, so whatever breaks here must not take it away from its call."""
    try:
        _tell(view, is_new=True)
        return Begun(view, True, None if place is None else message_of(view, place))
    except Exception:
        log.exception("message not made", job_id=str(view.job.job_id))
        return Begun(view, True)


def _tell(view: JobView, *, is_new: bool) -> None:
    log.info("job started" if is_new else "job joined", job_id=str(view.job.job_id))
