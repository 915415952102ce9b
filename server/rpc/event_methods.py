"""The method of DownloadService that reads a client's log of events."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from actors.webhook.event_messages import URL_LIFETIME_S, change_message, event_message
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.current_client import current_client
from server.access.open_calls import OpenCalls, WatchLimiter
from server.rpc import page_requests
from server.rpc.error_interceptor import counts_as_watch
from server.rpc.page_requests import EventPage
from server.rpc.service_base import SHORT_PAGE, Context, ServiceBase
from server.watch.event_waiter import EventWaiter
from storage.events import event_log
from storage.events.event_log import LoggedEvent
from storage.records import JobRecord

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
