"""The method of DownloadService that reads a client's log of events, or waits for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from functools import partial

import structlog

from actors.contract_messages import URL_LIFETIME_S, change_message, event_message
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.authentication import current_client
from server.access.open_calls import OpenCalls, WatchLimiter
from server.errors import ShuttingDown
from server.rpc import page_requests
from server.rpc.error_interceptor import counts_as_watch
from server.rpc.page_requests import EventPage
from server.rpc.service_base import SHORT_PAGE, Context, ServiceBase
from storage.errors import ServiceUnavailable
from storage.events import event_log
from storage.events.event_log import LoggedEvent
from storage.records import JobRecord

log: structlog.stdlib.BoundLogger = structlog.get_logger()

INTERVAL_S = 1.0

# Returns the number of the newest event of each client that has any.
LastNumbers = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]


class EventWaiter:
    """One reading a second serves all waiting calls. For the event loop's thread only."""

    def __init__(self, last_numbers: LastNumbers, *, interval_s: float = INTERVAL_S) -> None:
        self._last_numbers = last_numbers
        self._interval_s = interval_s
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def wait(self, client: str, after: int, timeout_s: float) -> None:
        """Return when the log of `client` may have an event after number `after`.

        Returns after `timeout_s` seconds in any case. Raises ShuttingDown if the server stops.
        """
        found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[found] = (client, after)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait([found], timeout=timeout_s)
            for each in done:
                each.result()
        finally:
            del self._waiting[found]
            if found.done():
                # A call that is cancelled now does not read the error of a stop.
                found.exception()

    @property
    def count(self) -> int:
        """Return how many calls wait."""
        return len(self._waiting)

    async def _read(self) -> None:
        """Read until no call waits."""
        while self._waiting:
            try:
                last = await self._last_numbers({client for client, _ in self._waiting.values()})
            except ServiceUnavailable:
                # The call itself answers this when its time is over.
                last = {}
            except Exception:
                log.exception("events not read")
                last = {}
            for found, (client, after) in self._waiting.items():
                if last.get(client, 0) > after and not found.done():
                    found.set_result(None)
            await asyncio.sleep(self._interval_s)

    async def close(self) -> None:
        """End the readings, and the calls that wait."""
        for found in self._waiting:
            if not found.done():
                found.set_exception(ShuttingDown())
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])


PAGE_BYTES = 2 * 1024 * 1024
# The documents of one event. A message is smaller than its JSON, so it fits a page.
MOST_JSON_BYTES = PAGE_BYTES - 10_000
# No document's message is smaller. Documents that cannot fit are not even read.
LEAST_DOCUMENT_BYTES = 100


class EventMethods(ServiceBase):
    """ListEvents."""

    open_watches: WatchLimiter
    calls: OpenCalls
    event_waiter: EventWaiter

    @counts_as_watch
    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        """Return the client's events after a cursor, oldest first; wait for one if asked to."""
        client = current_client()
        page = page_requests.list_events(request, client=client.name)
        if not page.wait_s:
            with self.calls.acquire_call(client):
                return await self._page(client.name, page)
        until = asyncio.get_running_loop().time() + page.wait_s
        with self.open_watches.acquire_watch(client):
            while True:
                found = await self._page(client.name, page)
                left_s = until - asyncio.get_running_loop().time()
                if found.events or left_s <= 0:
                    return found
                await self.event_waiter.wait(client.name, page.after, left_s)

    async def _page(self, client: str, page: EventPage) -> pb.ListEventsResponse:
        # A page with documents is long, however few events it has.
        size = page.size if page.without_documents else page.size + SHORT_PAGE
        return await self._threads.read_page(size, self._events, client, page)

    def _events(self, client: str, page: EventPage) -> pb.ListEventsResponse:
        logged, has_more = event_log.page(self._parts.database, client, page.after, page.size)
        response = pb.ListEventsResponse(has_more=has_more)
        left = PAGE_BYTES
        for each in logged:
            message = self._event(each, page, left)
            if response.events and (message is None or message.ByteSize() > left):
                # It is read again for the next page.
                response.has_more = True
                break
            message = message or self._event(each, page, PAGE_BYTES)
            assert message is not None  # noqa: S101 - what exceeds a page has no documents
            left -= message.ByteSize()
            response.events.append(message)
        return response

    def _event(self, each: LoggedEvent, page: EventPage, room: int) -> pb.Event | None:
        """Return an event's message, None if its documents need more than `room` bytes."""
        if each.change is not None:
            change = change_message(each.type, each.event_time, each.change)
            return self._logged(each, page, change)
        assert each.job is not None  # noqa: S101 - every other event has its job
        least = 0 if page.without_documents else _least_bytes(each.job)
        is_omitted = page.without_documents or least > PAGE_BYTES
        if not is_omitted and least > room:
            return None
        event = event_message(
            each.type,
            each.event_time,
            each.job,
            () if is_omitted else event_log.documents(self._parts.database, each),
            max_bytes=MOST_JSON_BYTES,
            url_of=self._url_of,
        )
        event.data.documents_omitted |= is_omitted
        return self._logged(each, page, event)

    def _logged(self, each: LoggedEvent, page: EventPage, event: pb.WebhookEvent) -> pb.Event:
        return pb.Event(
            cursor=page_requests.page_token(page.fingerprint, each.number),
            webhook_id=each.webhook_id,
            event=event,
        )

    @property
    def _url_of(self) -> partial[tuple[str, datetime]]:
        return partial(self._parts.objects.url, lifetime_s=URL_LIFETIME_S)


def _least_bytes(job: JobRecord) -> int:
    return (job.total_documents or 0) * LEAST_DOCUMENT_BYTES
