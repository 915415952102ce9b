"""The methods of DownloadService that read a case's data, and those that watch cases."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict

from actors.contract_messages import timestamp
from autos.downloads.v1 import downloads_pb2 as pb
from server.access.authentication import current_client
from server.access.open_calls import OpenCalls
from server.rpc import page_requests
from server.rpc.requests import Checks
from server.rpc.service_base import Context, ServiceBase
from server.rpc.starts import start_requests
from storage.clients.client_registry import CallingClient
from storage.errors import InvalidRequest
from storage.listings import case_answer
from storage.listings.case_answer import StoredAnswer
from storage.process_number import parse_process_number
from storage.subscriptions import subscription_rows
from storage.subscriptions.subscription_rows import SubscriptionRecord, WatchedCase
from storage.webhook_policy import WebhookPolicy, display

log: structlog.stdlib.BoundLogger = structlog.get_logger()

INTERVAL_S = 86_400
LEAST_INTERVAL_S, MOST_INTERVAL_S = 3_600, 30 * 86_400
# A gRPC client refuses messages above 4 MiB unless it is told otherwise.
MOST_BYTES = 3_500_000


class CaseMethods(ServiceBase):
    """What a client reads of a case, and the cases that it watches. No request to the portal."""

    calls: OpenCalls

    async def GetCase(self, request: pb.GetCaseRequest, context: Context) -> pb.GetCaseResponse:
        """Return the data of a case from its newest listing for this client."""
        number, client = parse_process_number(request.process_number), current_client().name
        answer = await self.run(case_answer.newest, self._parts.database, client, number)
        case = await self._threads.read_page(_entries(answer), case_message, answer)
        return pb.GetCaseResponse(case=case)

    async def GetCaseListing(self, request: pb.GetCaseListingRequest, context: Context) -> None:
        """Stream the portal's answer to the newest listing of the case for this client."""
        number, client = parse_process_number(request.process_number), current_client()
        database, objects = self._parts.database, self._parts.objects
        parts = case_answer.newest_bytes(database, objects, client.name, number)
        try:
            while (part := await self.run(lambda: next(parts, None))) is not None:
                # A part that is not read holds a connection with the bucket.
                with self.calls.sending_part(client):
                    await context.write(pb.GetCaseListingResponse(chunk=part))
        finally:
            await self.run(_close, parts)

    async def SubscribeCase(
        self, request: pb.SubscribeCaseRequest, context: Context
    ) -> pb.SubscribeCaseResponse:
        """Watch a case, or replace how it is watched."""
        client = current_client()
        wanted = subscribe(
            request,
            client=client,
            receivers=self._parts.receivers,
            is_signed=bool(self._parts.webhook_secrets.known(client.name)),
        )
        record = await self.run(subscription_rows.subscribe, self._parts.database, wanted)
        log.info("case watched", interval_s=wanted.interval_s)
        return pb.SubscribeCaseResponse(subscription=_message(record))

    async def UnsubscribeCase(
        self, request: pb.UnsubscribeCaseRequest, context: Context
    ) -> pb.UnsubscribeCaseResponse:
        """End watching a case."""
        number, client = parse_process_number(request.process_number), current_client().name
        await self.run(subscription_rows.unsubscribe, self._parts.database, client, number)
        log.info("case not watched any more")
        return pb.UnsubscribeCaseResponse()

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Context
    ) -> pb.ListSubscriptionsResponse:
        """Return watched cases by their numbers."""
        client = current_client().name
        page = page_requests.list_subscriptions(request, client=client)
        shown, has_more = await self._threads.read_page(
            page.size, subscription_rows.page, self._parts.database, client, page.wanted, page.size
        )
        token = ""
        if has_more:
            token = page_requests.page_token(page.fingerprint, shown[-1].process_number)
        return pb.ListSubscriptionsResponse(
            subscriptions=map(_message, shown), next_page_token=token
        )


def _entries(answer: StoredAnswer) -> int:
    """Return how many movements and parties the data of a case has."""
    proceedings = answer.data.get("proceedings", ())
    return sum(len(each["movements"]) + len(each["parties"]) for each in proceedings)


def _close(parts: Generator[bytes]) -> None:
    # A thread still reads a part for a call that was cancelled; it drops the rest afterwards.
    with suppress(ValueError):
        parts.close()


def case_message(answer: StoredAnswer) -> pb.Case:
    """Return the message of a case. Above MOST_BYTES the oldest movements are left out first."""
    case = pb.Case(
        process_number=answer.process_number,
        court=answer.data.get("court", ""),
        secrecy_level=answer.secrecy_level,
        sealed=answer.is_sealed,
        proceedings=[_proceeding(each) for each in answer.data.get("proceedings", ())],
        listed_time=timestamp(answer.listed_time),
        listing_sha256=answer.sha256,
    )
    for field in ("movements", "parties"):
        while case.ByteSize() > MOST_BYTES and any(getattr(p, field) for p in case.proceedings):
            longest = max(case.proceedings, key=lambda each: len(getattr(each, field)))
            entries = getattr(longest, field)
            del entries[len(entries) // 2 :]
    return case


def _proceeding(data: dict[str, Any]) -> pb.Proceeding:
    # A newer release may have recorded more than this one shows.
    return ParseDict(data, pb.Proceeding(), ignore_unknown_fields=True)


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


def subscribe(
    request: pb.SubscribeCaseRequest,
    *,
    client: CallingClient,
    receivers: WebhookPolicy,
    is_signed: bool,
) -> WatchedCase:
    """Return a checked SubscribeCase. Raises InvalidRequest and CaseNotAllowed.

    `is_signed`: whether the client has a secret that signs its webhooks.
    """
    checks = Checks()
    number = checks.take(lambda: parse_process_number(request.process_number))
    url, interval_s, selection = None, INTERVAL_S, None
    if request.HasField("interval"):
        interval_s = checks.take(lambda: _interval_s(request.interval)) or INTERVAL_S
    if request.webhook_url:
        url = checks.take(
            lambda: start_requests.receiver(request.webhook_url, receivers, is_signed=is_signed)
        )
    if request.HasField("selection"):
        selection = checks.take(lambda: start_requests.checked_selection(request.selection))
    labels = checks.take(lambda: start_requests.checked_labels(request.labels))
    checks.finish()
    client.access.require(number or "")
    return WatchedCase(
        client=client.name,
        process_number=number or "",
        interval_s=interval_s,
        webhook_url=url,
        selection=(selection and selection.as_values) or None,
        list_only=request.list_only,
        labels=labels or {},
        most=client.limits.subscriptions if client.limits else None,
    )


def _interval_s(given: Duration) -> int:
    seconds = given.seconds + given.nanos / 1e9
    is_proper = abs(given.nanos) < 1_000_000_000
    if not is_proper or not LEAST_INTERVAL_S <= seconds <= MOST_INTERVAL_S:
        raise InvalidRequest.of("interval", "must be 1 hour to 30 days; unset means 24 hours.")
    return round(seconds)
