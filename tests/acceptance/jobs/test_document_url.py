"""Test GetDocumentUrl: its URL works for exactly the promised lifetime."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
import requests
from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from tests.sandbox.court_cases.cases import CASES
from tests.system.job_calls import documents, run, start
from tests.system.refused_calls import refusal
from tests.system.running_autos import Autos

# A busy machine may need seconds between the answer and the first request.
LIFETIME_S = 6
SEALED = CASES["sealed"].number
SEALED_CASE = CASES["sealed-case"].number


@pytest.fixture(scope="module")
def public(autos: Autos) -> tuple[pb.Job, pb.Document]:
    """Return an available document that is not sealed."""
    job = run(autos, autos.portal.add_case(documents=1, size=30_000))
    return job, documents(autos, job)[0]


def _url(autos: Autos, job: pb.Job, document: pb.Document, **fields: Any) -> Any:
    request = pb.GetDocumentUrlRequest(
        job_id=job.job_id, document_id=document.document_id, **fields
    )
    return autos.api.GetDocumentUrl(request, timeout=60)


def _lifetime_s(autos: Autos, job: pb.Job, document: pb.Document, **fields: Any) -> int:
    """Return a new URL's own lifetime in seconds; it must equal the lifetime in the answer."""
    before = time.time()
    answer = _url(autos, job, document, **fields)
    query = parse_qs(urlsplit(answer.url).query)
    [lifetime], [begins] = query["X-Amz-Expires"], query["X-Amz-Date"]
    begin = datetime.strptime(begins, "%Y%m%dT%H%M%S%z")
    assert answer.expire_time.ToDatetime(UTC) == begin + timedelta(seconds=int(lifetime))
    assert before - 1 < begin.timestamp() <= time.time()
    return int(lifetime)


def test_a_url_gives_the_document_without_credentials(
    autos: Autos, public: tuple[pb.Job, pb.Document]
) -> None:
    job, document = public

    answer = requests.get(_url(autos, job, document).url, timeout=60)

    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == document.sha256
    assert answer.headers["Content-Type"] == document.content_type
    assert answer.headers["Content-Disposition"].startswith("attachment;")


def test_a_url_expires_at_its_expire_time(autos: Autos, public: tuple[pb.Job, pb.Document]) -> None:
    answer = _url(autos, *public, lifetime=Duration(seconds=LIFETIME_S))
    expires = answer.expire_time.ToNanoseconds() / 1e9
    good: list[float] = []

    def is_dead() -> bool:
        requested_at = time.time()
        if requests.get(answer.url, timeout=30).status_code == 403:
            return True
        good.append(requested_at)
        return False

    until(is_dead, 60, "It lives for ever.")

    assert good, "it was dead from the start"
    # The bucket rejects every request after that time, however late this one is.
    assert good[-1] < expires + 1
    assert time.time() >= expires


@pytest.mark.parametrize(
    ("wanted", "given_s"),
    [
        (None, 900),
        (Duration(seconds=1), 1),
        (Duration(seconds=60, nanos=999_999_999), 60),
        (Duration(seconds=3_600), 3_600),
        (Duration(seconds=3_601), 3_600),
        (Duration(seconds=315_576_000_000), 3_600),
    ],
)
def test_a_url_has_the_requested_lifetime_of_at_most_an_hour(
    autos: Autos, public: tuple[pb.Job, pb.Document], wanted: Duration | None, given_s: int
) -> None:
    assert _lifetime_s(autos, *public, lifetime=wanted) == given_s


def test_a_url_of_a_sealed_document_lives_at_most_five_minutes(autos: Autos) -> None:
    job = run(autos, SEALED)
    levels = {document.secrecy_level: document for document in documents(autos, job)}
    assert {"PUBLICO", "SEGREDO_JUSTICA", "SIGILO_ABSOLUTO", ""} <= levels.keys()

    for level, document in levels.items():
        is_sealed = level != "PUBLICO"
        lifetime_s = partial(_lifetime_s, autos, job, document)
        assert lifetime_s() == (300 if is_sealed else 900), level
        assert lifetime_s(lifetime=Duration(seconds=3_600)) == (300 if is_sealed else 3_600), level
        assert lifetime_s(lifetime=Duration(seconds=10)) == 10, level


def test_every_document_of_a_sealed_case_is_sealed(autos: Autos) -> None:
    job = run(autos, SEALED_CASE)
    assert job.secrecy_level == 1

    for document in documents(autos, job):
        assert document.secrecy_level == "PUBLICO"
        assert _lifetime_s(autos, job, document, lifetime=Duration(seconds=3_600)) == 300


def test_what_is_not_available_has_no_url(autos: Autos) -> None:
    # Five slices of eight documents take less.
    number = autos.portal.add_case(documents=50, faults={0: "no-href"})
    autos.portal.hold(number)
    job = start(autos, number).job
    autos.portal.wait_held(number, 5)
    while_held = documents(autos, job)
    requested_at = {document.state: document for document in while_held}
    assert requested_at.keys() == {
        pb.DOCUMENT_STATE_FAILED,
        pb.DOCUMENT_STATE_DOWNLOADING,
        pb.DOCUMENT_STATE_PENDING,
    }

    for state, document in requested_at.items():
        _assert_not_available(autos, job, document, state)

    autos.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id), timeout=60)
    autos.portal.release(number)
    _assert_not_available(autos, job, while_held[-1], pb.DOCUMENT_STATE_CANCELLED)


def _assert_not_available(
    autos: Autos, job: pb.Job, document: pb.Document, state: pb.DocumentState
) -> None:
    request = pb.GetDocumentUrlRequest(job_id=job.job_id, document_id=document.document_id)
    found = refusal(autos, "GetDocumentUrl", request)
    assert found.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (found.domain, found.reason) == ("autos", "DOCUMENT_NOT_AVAILABLE")
    assert found.precondition == ("DOCUMENT_NOT_AVAILABLE", document.document_id)
    name = pb.DocumentState.Name(state).removeprefix("DOCUMENT_STATE_")
    assert found.text == f"The document is {name}, not AVAILABLE."


@pytest.mark.parametrize(("number", "is_case"), [(SEALED, False), (SEALED_CASE, True)])
def test_sealed_means_the_same_wherever_a_document_is_read(
    autos: Autos, number: str, is_case: bool
) -> None:
    job = run(autos, number)
    stream = list(autos.api.WatchProgress(pb.WatchProgressRequest(job_id=job.job_id), timeout=30))
    watched = [each.document for each in stream if each.HasField("document")]

    listed = documents(autos, job)

    assert job.sealed == is_case
    for document in listed:
        is_public = job.secrecy_level == 0 and document.secrecy_level == "PUBLICO"
        assert document.sealed != is_public
        request = pb.GetDocumentRequest(job_id=job.job_id, document_id=document.document_id)
        assert autos.api.GetDocument(request, timeout=60).document == document
        assert document in watched
