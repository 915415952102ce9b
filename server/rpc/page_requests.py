"""The calls that list pages, converted to plain, checked values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc import page_tokens, requests
from server.rpc.requests import Checks, seconds_of, uuid_of
from server.rpc.starts import start_choices
from storage.documents.document_queries import DocumentFilter
from storage.errors import InvalidRequest
from storage.jobs.job_queries import JobFilter
from storage.process_number import parse_process_number
from storage.states import DocumentState, JobState

EVENT_WAIT_CAP_S = 60.0


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
        batch = checks.take(lambda: requests.batch_id(request.batch_id))
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
    job = checks.take(lambda: uuid_of("job_id", request.job_id))
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
    wait_s = checks.take(lambda: seconds_of("wait", request.wait))
    checks.finish()
    most_s = min(wait_s or 0.0, EVENT_WAIT_CAP_S)
    return EventPage(after or 0, size or 0, most_s, request.without_documents, fingerprint)
