"""Requests converted to plain, checked values. An error names every invalid field at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc import page_tokens
from server.rpc.starts import start_choices
from storage.clients.client_registry import CallingClient
from storage.documents.document_queries import DocumentFilter
from storage.errors import FieldViolation, InvalidRequest
from storage.jobs.job_queries import JobFilter
from storage.jobs.job_start import StartRequest
from storage.priorities import Priority
from storage.process_number import parse_process_number
from storage.selections.selection import EVERYTHING
from storage.states import DocumentState, JobState
from storage.webhook_policy import WebhookPolicy

T = TypeVar("T")

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Ten years. A longer age makes no practical difference and could exceed PostgreSQL's date range.
MAX_AGE_CAP_S = 315_360_000.0
URL_LIFETIME_S = 900
URL_LIFETIME_CAP_S = 3_600
SEALED_LIFETIME_CAP_S = 300
HEARTBEAT_S = 15.0
WAIT_S, WAIT_CAP_S = 30.0, 300.0
EVENT_WAIT_CAP_S = 60.0


class Checks:
    """Collects the violations of a request."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def take(self, check: Callable[[], T]) -> T | None:
        """Return the result of `check`. If it raises InvalidRequest, keep the violations."""
        try:
            return check()
        except InvalidRequest as error:
            self._violations.extend(error.violations)
            return None

    def finish(self) -> None:
        """Raise InvalidRequest if there is any violation."""
        if self._violations:
            raise InvalidRequest(*self._violations)


def _uuid(field: str, text: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise InvalidRequest.of(
            field, "must be a UUID, such as 2f1e0c9a-7b3d-4c5e-8f60-1a2b3c4d5e6f."
        )
    return UUID(text)


def _seconds(field: str, duration: Duration) -> float:
    is_proper = abs(duration.seconds) <= 315_576_000_000 and abs(duration.nanos) < 1_000_000_000
    value = duration.seconds + duration.nanos / 1e9
    if not is_proper or value < 0 or duration.nanos < 0:
        raise InvalidRequest.of(field, "must be a duration of zero or more.")
    return value


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
        request_id = checks.take(lambda: _uuid("request_id", request.request_id))
    if request.HasField("max_age"):
        max_age_s = checks.take(lambda: _seconds("max_age", request.max_age))
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


def target(
    request: pb.GetStatusRequest | pb.WatchProgressRequest | pb.WaitJobRequest,
) -> UUID | str:
    """Return the job_id or the process number of the requested job. Raises InvalidRequest."""
    match request.WhichOneof("target"):
        case "job_id":
            return _uuid("job_id", request.job_id)
        case "process_number":
            return parse_process_number(request.process_number)
        case _:
            raise InvalidRequest.of("target", "set exactly one of job_id and process_number.")


def job_id(text: str) -> UUID:
    """Return a required job_id. Raises InvalidRequest."""
    return _uuid("job_id", text)


def batch_id(text: str) -> UUID:
    """Return a required batch_id. Raises InvalidRequest."""
    return _uuid("batch_id", text)


def request_id(text: str) -> UUID:
    """Return a given request_id. Raises InvalidRequest."""
    return _uuid("request_id", text)


def repeatable(
    request: pb.RetryJobRequest | pb.RedeliverWebhookRequest,
) -> tuple[UUID, UUID | None]:
    """Return the job_id and request_id of a call on an ended job. Raises InvalidRequest."""
    checks = Checks()
    job = checks.take(lambda: _uuid("job_id", request.job_id))
    request_id = None
    if request.request_id:
        request_id = checks.take(lambda: _uuid("request_id", request.request_id))
    checks.finish()
    assert job is not None  # noqa: S101 - finish() checked it
    return job, request_id


def document_ids(
    request: pb.GetDocumentUrlRequest | pb.GetDocumentRequest,
) -> tuple[UUID, UUID]:
    """Return the job_id and document_id of a call on one document. Raises InvalidRequest."""
    checks = Checks()
    job = checks.take(lambda: _uuid("job_id", request.job_id))
    document = checks.take(lambda: _uuid("document_id", request.document_id))
    if isinstance(request, pb.GetDocumentUrlRequest):
        checks.take(lambda: url_lifetime_s(request, is_sealed=False))
    checks.finish()
    assert job is not None and document is not None  # noqa: S101, PT018 - finish() checked it
    return job, document


def url_lifetime_s(request: pb.GetDocumentUrlRequest, *, is_sealed: bool) -> int:
    """Return the lifetime of the URL in whole seconds. Raises InvalidRequest."""
    wanted_s = float(URL_LIFETIME_S)
    if request.HasField("lifetime"):
        wanted_s = _seconds("lifetime", request.lifetime)
        if wanted_s < 1:
            raise InvalidRequest.of("lifetime", "must be at least one second.")
    return int(min(wanted_s, SEALED_LIFETIME_CAP_S if is_sealed else URL_LIFETIME_CAP_S))


def page_size(size: int, *, default: int, most: int) -> int:
    """Return the maximum number of items on a page. Raises InvalidRequest."""
    if size < 0:
        raise InvalidRequest.of("page_size", f"must not be negative; 0 means {default}.")
    return min(size or default, most)


def _states(values: Sequence[int], kind: type[JobState] | type[DocumentState]) -> tuple[str, ...]:
    enum = pb.JobState if kind is JobState else pb.DocumentState
    prefix = "JOB_STATE_" if kind is JobState else "DOCUMENT_STATE_"
    names = {number: name.removeprefix(prefix) for name, number in enum.items()}
    known = {number for number, name in names.items() if name in kind.__members__}
    if not set(values) <= known:
        raise InvalidRequest.of("states", f"must be values of {prefix}* other than UNSPECIFIED.")
    return tuple(sorted({names[value] for value in values}))


@dataclass(frozen=True, slots=True)
class JobPage:
    """A checked ListJobs. `fingerprint` binds page tokens to their filters."""

    wanted: JobFilter
    size: int
    fingerprint: str


def list_jobs(request: pb.ListJobsRequest, *, client: str) -> JobPage:
    """Return a checked ListJobs. Raises InvalidRequest."""
    checks = Checks()
    size = checks.take(lambda: page_size(request.page_size, default=50, most=500))
    states = checks.take(lambda: _states(request.states, JobState))
    number = None
    if request.process_number:
        number = checks.take(lambda: parse_process_number(request.process_number))
    labels = checks.take(lambda: start_choices.labels(request.labels)) or {}
    batch = None
    if request.batch_id:
        batch = checks.take(lambda: batch_id(request.batch_id))
    created_from = checks.take(lambda: _moment(request, "create_time_from"))
    created_to = checks.take(lambda: _moment(request, "create_time_to"))
    if created_from and created_to and created_from > created_to:
        checks.take(lambda: _refuse("create_time_to", "must not be before create_time_from."))
    fingerprint = page_tokens.fingerprint(
        "ListJobs", client, number, states, sorted(labels.items()), created_from, created_to, batch
    )
    after = checks.take(lambda: page_tokens.open_job_token(request.page_token, fingerprint))
    checks.finish()
    wanted = JobFilter(client, number, states or (), after, labels, created_from, created_to, batch)
    return JobPage(wanted, size or 0, fingerprint)


def _moment(request: pb.ListJobsRequest, field: str) -> datetime | None:
    if not request.HasField(field):
        return None
    return start_choices.moment(field, getattr(request, field))


def _refuse(field: str, why: str) -> None:
    raise InvalidRequest.of(field, why)


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """A checked ListDocuments."""

    wanted: DocumentFilter
    size: int
    fingerprint: str


def list_documents(request: pb.ListDocumentsRequest, *, client: str) -> DocumentPage:
    """Return a checked ListDocuments. Raises InvalidRequest."""
    checks = Checks()
    job = checks.take(lambda: _uuid("job_id", request.job_id))
    size = checks.take(lambda: page_size(request.page_size, default=100, most=1000))
    states = checks.take(lambda: _states(request.states, DocumentState))
    fingerprint = page_tokens.fingerprint("ListDocuments", client, str(job), states)
    after = checks.take(lambda: page_tokens.open_document_token(request.page_token, fingerprint))
    checks.finish()
    assert job is not None  # noqa: S101 - finish() checked it
    return DocumentPage(
        DocumentFilter(job, states or (), -1 if after is None else after), size or 0, fingerprint
    )


@dataclass(frozen=True, slots=True)
class EventPage:
    """A checked ListEvents. `after`: the number of the last event that the caller handled."""

    after: int
    size: int
    wait_s: float
    without_documents: bool
    fingerprint: str


def list_events(request: pb.ListEventsRequest, *, client: str) -> EventPage:
    """Return a checked ListEvents. Raises InvalidRequest."""
    checks = Checks()
    fingerprint = page_tokens.fingerprint("ListEvents", client)
    after = checks.take(lambda: page_tokens.open_event_cursor(request.after_cursor, fingerprint))
    size = checks.take(lambda: page_size(request.page_size, default=50, most=500))
    wait_s = checks.take(lambda: _seconds("wait", request.wait))
    checks.finish()
    most_s = min(wait_s or 0.0, EVENT_WAIT_CAP_S)
    return EventPage(after or 0, size or 0, most_s, request.without_documents, fingerprint)


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """A checked WatchProgress."""

    target: UUID | str
    after_revision: int
    heartbeat_s: float


def watch(request: pb.WatchProgressRequest) -> WatchRequest:
    """Return a checked WatchProgress. Raises InvalidRequest.

    The caller checks that after_revision is not ahead of the job.
    """
    checks = Checks()
    wanted = checks.take(lambda: target(request))
    checks.take(lambda: _after_revision(request))
    checks.finish()
    heartbeat_s = HEARTBEAT_S
    if request.HasField("heartbeat_interval"):
        heartbeat_s = _brought_into(request.heartbeat_interval, 1.0, 60.0)
    assert wanted is not None  # noqa: S101 - finish() checked it
    return WatchRequest(wanted, request.after_revision, heartbeat_s)


def wait(request: pb.WaitJobRequest) -> tuple[UUID | str, float]:
    """Return the target of a WaitJob and its timeout in seconds. Raises InvalidRequest."""
    wanted = target(request)
    if not request.HasField("timeout"):
        return wanted, WAIT_S
    return wanted, _brought_into(request.timeout, 1.0, WAIT_CAP_S)


def _brought_into(duration: Duration, least_s: float, most_s: float) -> float:
    return min(most_s, max(least_s, duration.seconds + duration.nanos / 1e9))


def _after_revision(request: pb.WatchProgressRequest) -> None:
    if request.after_revision < 0:
        raise InvalidRequest.of("after_revision", "must not be negative; 0 sends all documents.")
    if request.after_revision and request.WhichOneof("target") == "process_number":
        raise InvalidRequest.of(
            "after_revision",
            "goes with job_id only: the newest job of a case may be another one by now.",
        )
