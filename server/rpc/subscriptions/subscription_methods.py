"""The methods of DownloadService that watch cases."""

from __future__ import annotations

import grpc
import structlog

from autos.downloads.v1 import downloads_pb2 as pb
from server.access.current_client import current_client
from server.rpc import page_tokens
from server.rpc.service_base import ServiceBase
from server.rpc.subscriptions import subscription_requests
from server.rpc.subscriptions.subscription_messages import subscription_message
from storage.process_number import parse_process_number
from storage.subscriptions import subscription_rows

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Context = grpc.aio.ServicerContext[object, object]


class SubscriptionMethods(ServiceBase):
    """SubscribeCase, UnsubscribeCase and ListSubscriptions. None sends a request to the portal."""

    async def SubscribeCase(
        self, request: pb.SubscribeCaseRequest, context: Context
    ) -> pb.SubscribeCaseResponse:
        """Watch a case, or replace how it is watched."""
        client = current_client()
        wanted = subscription_requests.subscribe(
            request,
            client=client,
            receivers=self._parts.receivers,
            is_signed=bool(self._parts.webhook_secrets.known(client.name)),
        )
        record = await self._run(subscription_rows.subscribe, self._parts.database, wanted)
        log.info("case watched", interval_s=wanted.interval_s)
        return pb.SubscribeCaseResponse(subscription=subscription_message(record))

    async def UnsubscribeCase(
        self, request: pb.UnsubscribeCaseRequest, context: Context
    ) -> pb.UnsubscribeCaseResponse:
        """End watching a case."""
        number, client = parse_process_number(request.process_number), current_client().name
        await self._run(subscription_rows.unsubscribe, self._parts.database, client, number)
        log.info("case not watched any more")
        return pb.UnsubscribeCaseResponse()

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Context
    ) -> pb.ListSubscriptionsResponse:
        """Return watched cases by their numbers."""
        client = current_client().name
        page = subscription_requests.list_subscriptions(request, client=client)
        shown, has_more = await self._threads.read_page(
            page.size, subscription_rows.page, self._parts.database, client, page.after, page.size
        )
        token = ""
        if has_more:
            token = page_tokens.case_token(shown[-1].process_number, page.fingerprint)
        return pb.ListSubscriptionsResponse(
            subscriptions=map(subscription_message, shown), next_page_token=token
        )
