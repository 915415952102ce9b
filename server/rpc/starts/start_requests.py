"""StartDownload converted to plain, checked values. An error names every invalid field at once.

`require_short` has checked the numbers of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc.requests import Checks, seconds_of, uuid_of
from storage.clients.client_registry import CallingClient
from storage.errors import FieldViolation, InvalidRequest
from storage.jobs.job_start import StartRequest
from storage.priorities import Priority
from storage.process_number import parse_process_number
from storage.selections.selection import EVERYTHING, NOTHING, Selection, Wants
from storage.webhook_policy import WebhookPolicy

# Characters of a kind or an instance: no name of a listed document is longer. Every message of the
# job has them.
MOST_TEXT = 1_000
MOST_LABEL_VALUE = 256
MOST_AHEAD = timedelta(days=30)
# A day to 20 years, with their leap days.
RETENTION_S = (86_400.0, 7_305 * 86_400.0)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LABEL_KEY = re.compile(r"[a-z0-9_.-]{1,63}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMES = range(-62_135_596_800, 253_402_300_800)


def checked_wants(request: pb.StartDownloadRequest) -> Wants:
    """Return the documents that a StartDownload wants of its case. Raises InvalidRequest."""
    chosen = checked_selection(request.selection) if request.HasField("selection") else Selection()
    if request.list_only:
        return NOTHING
    return EVERYTHING if chosen.is_everything else Wants((chosen,))


def checked_selection(given: pb.Selection) -> Selection:
    """Return a checked selection. Raises InvalidRequest."""
    violations = list(_violations(given))
    if violations:
        raise InvalidRequest(
            *(FieldViolation(f"selection.{field}", why) for field, why in violations)
        )
    return Selection(
        document_ids=_once([text.lower() for text in given.document_ids]),
        kinds=_once(given.kinds),
        instances=_once(given.instances),
        filed_from_date=given.filed_from_date,
        filed_to_date=given.filed_to_date,
        max_size_bytes=given.max_size_bytes,
        exclude_sealed=given.exclude_sealed,
    )


def _once(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _violations(given: pb.Selection) -> Iterator[tuple[str, str]]:
    """Yield each field that is wrong, and why."""
    if not all(map(_UUID.fullmatch, given.document_ids)):
        yield "document_ids", "must be UUIDs, such as 2f1e0c9a-7b3d-4c5e-8f60-1a2b3c4d5e6f."
    for field, texts in (("kinds", given.kinds), ("instances", given.instances)):
        if any("\0" in text for text in texts):
            yield field, "must not hold the character U+0000."
        if any(len(text) > MOST_TEXT for text in texts):
            yield field, f"must have at most {MOST_TEXT} characters each."
    dates = {"filed_from_date": given.filed_from_date, "filed_to_date": given.filed_to_date}
    wrong = [field for field, text in dates.items() if text and not _is_date(text)]
    for field in wrong:
        yield field, "must be a date, such as 2025-06-02."
    if not wrong and given.filed_to_date and given.filed_from_date > given.filed_to_date:
        yield "filed_to_date", "must not be before filed_from_date."
    if given.max_size_bytes < 0:
        yield "max_size_bytes", "must not be negative; 0 means any size."


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text)) and date.fromisoformat(text) is not None
    except ValueError:
        return False


def checked_labels(given: Mapping[str, str]) -> dict[str, str]:
    """Return checked labels. Raises InvalidRequest."""
    for key, value in sorted(given.items()):
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidRequest.of(
                "labels",
                f"keys must be 1 to 63 characters of a-z, 0-9, '_', '-' and '.', not {key!a}.",
            )
        if len(value) > MOST_LABEL_VALUE or "\0" in value:
            raise InvalidRequest.of(
                "labels",
                f"the value of {key} must have at most {MOST_LABEL_VALUE} characters, none U+0000.",
            )
    return dict(given)


def checked_time(field: str, given: Timestamp) -> datetime:
    """Return a time. Raises InvalidRequest."""
    if given.seconds not in _TIMES or not 0 <= given.nanos < 1_000_000_000:
        raise InvalidRequest.of(field, "must be a time of the years 1 to 9999.")
    return given.ToDatetime(UTC)


def checked_not_before(given: Timestamp, now: datetime) -> datetime:
    """Return the time before which a job waits. Raises InvalidRequest."""
    field = "not_before_time"
    begin = checked_time(field, given)
    if begin > now + MOST_AHEAD:
        raise InvalidRequest.of(field, f"must be at most {MOST_AHEAD.days} days ahead.")
    return begin


def checked_retention_s(given: Duration) -> float:
    """Return a retention in seconds. Raises InvalidRequest."""
    seconds = given.seconds + given.nanos / 1e9
    least, most = RETENTION_S
    if not least <= seconds <= most or abs(given.nanos) >= 1_000_000_000:
        raise InvalidRequest.of("retention", "must be 1 day to 20 years.")
    return seconds


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
    wants = checks.take(lambda: checked_wants(request))
    labels = checks.take(lambda: checked_labels(request.labels))
    not_before_time, retention_s = None, None
    if request.HasField("not_before_time"):
        not_before_time = checks.take(
            lambda: checked_not_before(request.not_before_time, datetime.now(UTC))
        )
    if request.HasField("retention"):
        retention_s = checks.take(lambda: checked_retention_s(request.retention))
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
