"""Requests about watched cases, converted to plain, checked values."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc import page_tokens
from server.rpc.page_requests import page_size
from server.rpc.requests import Checks
from server.rpc.starts import start_choices
from server.rpc.starts.start_requests import receiver
from storage.clients.client_registry import CallingClient
from storage.errors import InvalidRequest
from storage.process_number import parse_process_number
from storage.subscriptions.subscription_rows import WatchedCase
from storage.webhook_policy import WebhookPolicy

INTERVAL_S = 86_400
LEAST_INTERVAL_S, MOST_INTERVAL_S = 3_600, 30 * 86_400


def subscribe(
    request: pb.SubscribeCaseRequest,
    *,
    client: CallingClient,
    receivers: WebhookPolicy,
    is_signed: bool,
) -> WatchedCase:
    """Return a checked SubscribeCase. Raises InvalidRequest and CaseNotAllowed.

    The numbers of values are checked before (repeated_fields.py).
    `is_signed`: whether the client has a secret that signs its webhooks.
    """
    checks = Checks()
    number = checks.take(lambda: parse_process_number(request.process_number))
    url, interval_s, selection = None, INTERVAL_S, None
    if request.HasField("interval"):
        interval_s = checks.take(lambda: _interval_s(request.interval)) or INTERVAL_S
    if request.webhook_url:
        url = checks.take(lambda: receiver(request.webhook_url, receivers, is_signed=is_signed))
    if request.HasField("selection"):
        selection = checks.take(lambda: start_choices.selection(request.selection))
    labels = checks.take(lambda: start_choices.labels(request.labels))
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


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """A checked ListSubscriptions. `after`: the case before the page; empty for the first page."""

    after: str
    size: int
    fingerprint: str


def list_subscriptions(request: pb.ListSubscriptionsRequest, *, client: str) -> SubscriptionPage:
    """Return a checked ListSubscriptions. Raises InvalidRequest."""
    checks = Checks()
    size = checks.take(lambda: page_size(request.page_size, default=50, most=500))
    fingerprint = page_tokens.fingerprint("ListSubscriptions", client)
    after = checks.take(lambda: page_tokens.open_case_token(request.page_token, fingerprint))
    checks.finish()
    return SubscriptionPage(after or "", size or 0, fingerprint)
