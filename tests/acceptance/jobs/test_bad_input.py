"""Test invalid requests: each error is exact, changes no row and leaks no internals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from autos.downloads.v1 import downloads_pb2 as pb
from tests.system.invalid_requests import GOOD_NUMBER, WRONG, Known, Wrong, forged
from tests.system.invalid_values import STRINGS, UNKNOWN_ID, seconds
from tests.system.job_calls import documents, run, start
from tests.system.refused_calls import STREAMS, call, refusal, refused
from tests.system.running_autos import Autos

PREFIX = "autos.downloads.v1."


@pytest.fixture(scope="module")
def known(autos: Autos) -> Iterator[Known]:
    """Yield two ended jobs; assert afterwards that no invalid request was logged as a bug."""
    logged_before = len(autos.lines)
    request_id = str(uuid4())
    job = run(autos, autos.portal.add_case(documents=3), request_id=request_id)
    other = run(autos, autos.portal.add_case(documents=3))
    start(autos, job.process_number)  # Two jobs, so that the list of the case has two pages.
    available = [pb.DOCUMENT_STATE_AVAILABLE]
    yield Known(
        job=job,
        other=other,
        document_id=documents(autos, job)[0].document_id,
        others_document_id=documents(autos, other)[0].document_id,
        request_id=request_id,
        jobs_token=_token(autos, "ListJobs"),
        case_token=_token(autos, "ListJobs", process_number=job.process_number),
        documents_token=_token(autos, "ListDocuments", job_id=job.job_id),
        available_token=_token(autos, "ListDocuments", job_id=job.job_id, states=available),
        others_token=_token(autos, "ListDocuments", job_id=other.job_id),
    )
    assert not [line for line in autos.lines[logged_before:] if '"event": "bug"' in line]


def _token(autos: Autos, method: str, **fields: Any) -> str:
    request = getattr(pb, f"{method}Request")(page_size=1, **fields)
    token = str(getattr(autos.api, method)(request, timeout=60).next_page_token)
    assert token
    return token


@dataclass(frozen=True)
class _Traces:
    """What a call could have changed: the newest jobs, and the known job."""

    job_ids: tuple[str, ...]
    job: bytes


def _traces(autos: Autos, known: Known) -> _Traces:
    jobs = autos.api.ListJobs(pb.ListJobsRequest(page_size=20), timeout=60).jobs
    status = autos.api.GetStatus(pb.GetStatusRequest(job_id=known.job.job_id), timeout=60)
    return _Traces(tuple(job.job_id for job in jobs), status.job.SerializeToString())


@pytest.fixture(scope="module")
def before(autos: Autos, known: Known) -> _Traces:
    """Return the traces before the invalid requests. No test that compares them leaves others."""
    return _traces(autos, known)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_every_wrong_field_is_named_and_nothing_changes(
    autos: Autos, known: Known, before: _Traces, wrong: Wrong
) -> None:
    request = wrong.request if isinstance(wrong.request, Message) else wrong.request(known)

    found = refusal(autos, wrong.method, request)

    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert (found.domain, found.reason) == ("autos", "INVALID_REQUEST")
    assert found.fields.keys() == wrong.fields.keys()
    for field, part in wrong.fields.items():
        assert part in found.fields[field]
        assert f"{field}: {found.fields[field]}" in found.text
    assert _traces(autos, known) == before


UNKNOWN: dict[str, tuple[str, Callable[[Known], Message], str]] = {
    "status by id": ("GetStatus", lambda _: pb.GetStatusRequest(job_id=UNKNOWN_ID), UNKNOWN_ID),
    "status by number": (
        "GetStatus",
        lambda _: pb.GetStatusRequest(process_number=GOOD_NUMBER),
        GOOD_NUMBER,
    ),
    "watch by id": (
        "WatchProgress",
        lambda _: pb.WatchProgressRequest(job_id=UNKNOWN_ID, after_revision=5),
        UNKNOWN_ID,
    ),
    "watch by number": (
        "WatchProgress",
        lambda _: pb.WatchProgressRequest(process_number=GOOD_NUMBER),
        GOOD_NUMBER,
    ),
    "documents": (
        "ListDocuments",
        lambda _: pb.ListDocumentsRequest(job_id=UNKNOWN_ID),
        UNKNOWN_ID,
    ),
    "cancel": ("CancelJob", lambda _: pb.CancelJobRequest(job_id=UNKNOWN_ID), UNKNOWN_ID),
    "retry": ("RetryJob", lambda _: pb.RetryJobRequest(job_id=UNKNOWN_ID), UNKNOWN_ID),
    "redeliver": (
        "RedeliverWebhook",
        lambda _: pb.RedeliverWebhookRequest(job_id=UNKNOWN_ID),
        UNKNOWN_ID,
    ),
    "URL of an unknown job": (
        "GetDocumentUrl",
        lambda known: pb.GetDocumentUrlRequest(job_id=UNKNOWN_ID, document_id=known.document_id),
        UNKNOWN_ID,
    ),
    "a document of an unknown job": (
        "GetDocument",
        lambda known: pb.GetDocumentRequest(job_id=UNKNOWN_ID, document_id=known.document_id),
        UNKNOWN_ID,
    ),
    "wait by id": ("WaitJob", lambda _: pb.WaitJobRequest(job_id=UNKNOWN_ID), UNKNOWN_ID),
    "an id in capitals": (
        "GetStatus",
        lambda _: pb.GetStatusRequest(job_id=UNKNOWN_ID.upper()),
        UNKNOWN_ID,
    ),
}


@pytest.mark.parametrize("unknown", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_job_is_not_found_by_its_name(
    autos: Autos,
    known: Known,
    before: _Traces,
    unknown: tuple[str, Callable[[Known], Message], str],
) -> None:
    method, make, name = unknown

    found = refusal(autos, method, make(known))

    assert found.code == grpc.StatusCode.NOT_FOUND
    assert (found.domain, found.reason) == ("autos", "JOB_NOT_FOUND")
    assert found.resource == (f"{PREFIX}Job", name)
    assert name in found.text
    assert _traces(autos, known) == before


@pytest.mark.parametrize("method", ["GetDocument", "GetDocumentUrl"])
@pytest.mark.parametrize("whose", ["no job's", "another job's"])
def test_a_document_is_found_in_its_own_job_only(
    autos: Autos, known: Known, whose: str, method: str
) -> None:
    document_id = UNKNOWN_ID if whose == "no job's" else known.others_document_id
    request = getattr(pb, f"{method}Request")

    found = refusal(autos, method, request(job_id=known.job.job_id, document_id=document_id))

    assert found.code == grpc.StatusCode.NOT_FOUND
    assert (found.domain, found.reason) == ("autos", "DOCUMENT_NOT_FOUND")
    assert found.resource == (f"{PREFIX}Document", document_id)


OTHER_PAYLOADS: dict[str, Callable[[Autos, Known], dict[str, Any]]] = {
    "another case": lambda _, known: {"process_number": known.other.process_number},
    "a webhook": lambda autos, _: {"webhook_url": autos.receiver.url_of("/reused")},
    "a max_age": lambda *_: {"max_age": seconds(60)},
    "a max_age of zero": lambda *_: {"max_age": seconds(0)},
    "a priority": lambda *_: {"priority": pb.PRIORITY_HIGH},
}


@pytest.mark.parametrize("other", OTHER_PAYLOADS.values(), ids=OTHER_PAYLOADS)
def test_a_request_id_is_good_for_one_request(
    autos: Autos, known: Known, before: _Traces, other: Callable[[Autos, Known], dict[str, Any]]
) -> None:
    fields: dict[str, Any] = {
        "process_number": known.job.process_number,
        "request_id": known.request_id,
    }

    found = refusal(
        autos, "StartDownload", pb.StartDownloadRequest(**(fields | other(autos, known)))
    )

    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert (found.domain, found.reason) == ("autos", "REQUEST_ID_REUSED")
    assert found.fields.keys() == {"request_id"}
    assert "choose a new UUID" in found.fields["request_id"]
    assert _traces(autos, known) == before
    again = autos.api.StartDownload(pb.StartDownloadRequest(**fields), timeout=60)
    assert (again.job.job_id, again.created) == (known.job.job_id, False)


METHODS = pb.DESCRIPTOR.services_by_name["DownloadService"].methods
STRING_FIELDS = [
    (method.name, field.name)
    for method in METHODS
    for field in method.input_type.fields
    if field.type == FieldDescriptor.TYPE_STRING
]


@pytest.mark.parametrize(("method", "field"), STRING_FIELDS)
def test_odd_strings_are_refused_by_their_field(
    autos: Autos, known: Known, before: _Traces, method: str, field: str
) -> None:
    known_good: dict[str, dict[str, Any]] = {
        "StartDownload": {"process_number": GOOD_NUMBER},
        "SubscribeCase": {"process_number": GOOD_NUMBER},
        "StartDownloads": {"requests": [pb.StartDownloadRequest(process_number=GOOD_NUMBER)]},
        "RetryJob": {"job_id": known.job.job_id},
        "RedeliverWebhook": {"job_id": known.job.job_id},
        "ListDocuments": {"job_id": known.job.job_id},
        "GetDocument": {"job_id": known.job.job_id, "document_id": known.document_id},
        "GetDocumentUrl": {"job_id": known.job.job_id, "document_id": known.document_id},
    }
    good = known_good.get(method, {})

    for name, text in STRINGS.items():
        request = getattr(pb, f"{method}Request")(**(good | {field: text}))
        found = refusal(autos, method, request)
        assert found.code == grpc.StatusCode.INVALID_ARGUMENT, name
        assert found.fields.keys() == {field}, name
        assert found.reason == "INVALID_REQUEST", name

    assert _traces(autos, known) == before


# GetUsage's request has no field: bytes that are one of another message's fields are its request.
@pytest.mark.parametrize("method", [each.name for each in METHODS if each.input_type.fields])
@pytest.mark.parametrize(
    "raw", [b"\xff\xff", b"\x0a\x02\xff\xfe\x12\x02\xff\xfe", b"\x0a\xff\xff\xff\xff\x7f"]
)
def test_bytes_that_are_no_request_are_refused_without_the_parsers_words(
    autos: Autos, known: Known, method: str, raw: bytes
) -> None:
    is_stream = method in STREAMS
    make = autos.channel.unary_stream if is_stream else autos.channel.unary_unary
    send: Any = make(
        f"/{PREFIX}DownloadService/{method}",
        request_serializer=bytes,
        response_deserializer=bytes,
    )

    found = refused(lambda: list(send(raw, timeout=60)))

    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert (found.domain, found.reason) == ("autos", "MALFORMED_REQUEST")


def test_a_request_of_two_megabytes_is_refused_unread(autos: Autos, known: Known) -> None:
    request = pb.StartDownloadRequest(process_number="1" * 2_000_000)

    with pytest.raises(grpc.RpcError) as caught:
        call(autos, "StartDownload", request)

    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_forged_token_in_an_odd_time_zone_is_a_place_like_any_other(
    autos: Autos, known: Known
) -> None:
    for zone in ("+00:00:00.000001", "+23:59", "-23:59:59"):
        token = forged(known.jobs_token, f"2020-01-01T00:00:00{zone}", UNKNOWN_ID)

        answer = autos.api.ListJobs(pb.ListJobsRequest(page_token=token), timeout=60)

        assert list(answer.jobs) == []


def test_an_absurdly_long_max_age_is_as_good_as_for_ever(autos: Autos, known: Known) -> None:
    longest = seconds(315_576_000_000, nanos=999_999_999)

    answer = start(autos, known.job.process_number, max_age=longest)

    assert answer.job.state == pb.JOB_STATE_COMPLETED
    assert answer.job.progress.reused_documents == 3
