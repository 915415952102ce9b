"""The methods of DownloadService that watch cases."""

from __future__ import annotations

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration

from actors.contract_messages import timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.current_client import current_client
from server.rpc import page_tokens
from server.rpc.service_base import ServiceBase
from server.rpc.subscriptions import subscription_requests
from storage.process_number import parse_process_number
from storage.subscriptions import subscription_rows
from storage.subscriptions.subscription_rows import SubscriptionRecord
from storage.webhook_policy import display

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
        return pb.SubscribeCaseResponse(subscription=_message(record))

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
            subscriptions=map(_message, shown), next_page_token=token
        )


def _message(record: SubscriptionRecord) -> pb.Subscription:
    """Return the message of a subscription."""
    selection = record.selection
    return pb.Subscription(
        process_number=record.process_number,
        interval=Duration(seconds=record.interval_s),
        webhook_url=display(record.webhook_url) if record.webhook_url else "",
        selection=None if selection is None else pb.Selection(**selection),
        list_only=record.list_only,
        labels=record.labels,
        create_time=timestamp(record.create_time),
        next_time=timestamp(record.next_time),
        last_job_id=str(record.last_job_id or ""),
        last_change_time=timestamp(record.last_change_time),
    )
