"""StartDownload converted to plain, checked values. An error names every invalid field at once."""

from __future__ import annotations

from datetime import UTC, datetime

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc.requests import Checks, seconds_of, uuid_of
from server.rpc.starts import start_choices
from storage.clients.client_registry import CallingClient
from storage.errors import InvalidRequest
from storage.jobs.job_start import StartRequest
from storage.priorities import Priority
from storage.process_number import parse_process_number
from storage.selections.selection import EVERYTHING
from storage.webhook_policy import WebhookPolicy

# Ten years. A longer age makes no practical difference and could exceed PostgreSQL's date range.
MAX_AGE_CAP_S = 315_360_000.0


def start_request(
    request: pb.StartDownloadRequest,
    *,
    client: CallingClient,
    receivers: WebhookPolicy,
    default_max_age_s: float,
    is_signed: bool = True,
) -> StartRequest:
    """Return a checked StartDownload. Raises InvalidRequest and CaseNotAllowed.

    `is_signed`: whether the client has a secret that signs its webhooks.
    """
    checks = Checks()
    number = checks.take(lambda: parse_process_number(request.process_number))
    url, request_id, max_age_s = None, None, None
    if request.webhook_url:
        url = checks.take(lambda: receiver(request.webhook_url, receivers, is_signed=is_signed))
    if request.request_id:
        request_id = checks.take(lambda: uuid_of("request_id", request.request_id))
    if request.HasField("max_age"):
        max_age_s = checks.take(lambda: seconds_of("max_age", request.max_age))
    priority = checks.take(lambda: _priority(request.priority))
    wants = checks.take(lambda: start_choices.wants(request))
    labels = checks.take(lambda: start_choices.labels(request.labels))
    not_before_time, retention_s = None, None
    if request.HasField("not_before_time"):
        not_before_time = checks.take(
            lambda: start_choices.not_before_time(request.not_before_time, datetime.now(UTC))
        )
    if request.HasField("retention"):
        retention_s = checks.take(lambda: start_choices.retention_s(request.retention))
    checks.finish()
    client.access.require(number or "")
    return StartRequest(
        client=client.name,
        process_number=number or "",
        webhook_url=url,
        request_id=request_id,
        max_age_s=min(MAX_AGE_CAP_S, default_max_age_s if max_age_s is None else max_age_s),
        given_max_age_s=max_age_s,
        priority=priority or Priority.NORMAL,
        jobs_at_once=client.limits.jobs_at_once if client.limits else None,
        waiting_jobs=client.limits.waiting_jobs if client.limits else None,
        refuses_sealed=client.access.refuses_sealed,
        wants=wants or EVERYTHING,
        labels=labels or {},
        not_before_time=not_before_time,
        retention_s=retention_s,
    )


def receiver(url: str, receivers: WebhookPolicy, *, is_signed: bool) -> str:
    """Return a checked webhook_url. Raises InvalidRequest."""
    if not is_signed:
        raise InvalidRequest.of(
            "webhook_url", "this client has no secret that signs its webhooks; ask the operator."
        )
    return receivers.check(url)


def test_webhook(
    request: pb.SendTestWebhookRequest, *, receivers: WebhookPolicy, is_signed: bool
) -> str:
    """Return the checked URL of a SendTestWebhook. Raises InvalidRequest."""
    if not request.webhook_url:
        raise InvalidRequest.of("webhook_url", "must be set.")
    return receiver(request.webhook_url, receivers, is_signed=is_signed)


def _priority(value: int) -> Priority:
    if value == pb.PRIORITY_UNSPECIFIED:
        return Priority.NORMAL
    names = {number: name.removeprefix("PRIORITY_") for name, number in pb.Priority.items()}
    if value not in names:
        raise InvalidRequest.of("priority", "must be a value of PRIORITY_*; unset means NORMAL.")
    return Priority(names[value])
