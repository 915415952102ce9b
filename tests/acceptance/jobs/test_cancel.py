"""Test CancelJob: it stops a running job, reports its end, and leaves an ended job alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from tests.system.job_calls import (
    await_job,
    await_rest_given_back,
    documents,
    finish,
    run,
    start,
    status,
)
from tests.system.running_autos import Autos
from tests.system.running_processes import held_down
from tests.timing import quickest

STOPPED_S = 2.0


def _cancel(autos: Autos, job_id: str) -> pb.Job:
    job: pb.Job = autos.api.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=60).job
    return job


def _held_job(autos: Autos, count: int, path: str = "", **case: object) -> pb.Job:
    """Return a job with all its files held at the portal, five at a time."""
    number = autos.portal.add_case(documents=count, **case)  # type: ignore[arg-type]
    autos.portal.hold(number)
    url = autos.receiver.url_of(path) if path else ""
    job = start(autos, number, webhook_url=url).job
    requested = min(count, 5)
    autos.portal.wait_held(number, requested)
    await_rest_given_back(autos, job, requested)
    return job


def test_a_cancelled_job_adds_up_and_its_webhook_is_sent(autos: Autos) -> None:
    held = _held_job(autos, 12, "/cancelled", faults={0: "no-href", 1: "foreign-href"})

    job = _cancel(autos, held.job_id)
    autos.portal.release(job.process_number)

    assert job.state == pb.JOB_STATE_CANCELLED
    assert job.HasField("end_time")
    assert not job.HasField("error")
    counts = job.progress
    assert (counts.total_documents, counts.failed_documents, counts.cancelled_documents) == (
        12,
        2,
        10,
    )
    assert (counts.completed_documents, counts.pending_documents, counts.percent) == (0, 0, 0)
    states = [document.state for document in documents(autos, job)]
    assert states == [pb.DOCUMENT_STATE_FAILED] * 2 + [pb.DOCUMENT_STATE_CANCELLED] * 10
    [delivery] = autos.receiver.wait_for(1, 60, path="/cancelled")
    assert delivery.is_verified
    assert delivery.payload["type"] == "download.cancelled"
    assert delivery.payload["data"]["job"]["state"] == "JOB_STATE_CANCELLED"


def test_what_is_on_its_way_when_a_job_is_cancelled_never_becomes_available(autos: Autos) -> None:
    held = _held_job(autos, 8)
    case = autos.portal.case(held.process_number)
    assert case

    cancelled = _cancel(autos, held.job_id)
    autos.portal.release(held.process_number)
    again = run(autos, held.process_number)

    assert [d.state for d in documents(autos, cancelled)] == [pb.DOCUMENT_STATE_CANCELLED] * 8
    assert status(autos, held.job_id) == cancelled
    assert again.state == pb.JOB_STATE_COMPLETED
    assert again.progress.completed_documents == 8
    request_counts = sorted(
        autos.portal.request_count(document.uuid) for document in case.documents
    )
    assert request_counts == [1] * 3 + [2] * 5


def test_cancelling_twice_changes_nothing_and_sends_one_webhook(autos: Autos) -> None:
    held = _held_job(autos, 3, "/twice")

    first = _cancel(autos, held.job_id)
    ended = await_job(
        autos, held.job_id, lambda job: job.webhooks[0].state == pb.WEBHOOK_STATE_DELIVERED
    )
    second = _cancel(autos, held.job_id)
    autos.portal.release(held.process_number)

    assert first.state == pb.JOB_STATE_CANCELLED
    assert second == ended == status(autos, held.job_id)
    assert len(autos.receiver.deliveries_at("/twice")) == 1


@pytest.mark.parametrize("faults", [{}, {0: "file-404"}, {0: "file-404", 1: "file-404"}])
def test_an_ended_job_is_returned_unchanged(autos: Autos, faults: dict[int, str]) -> None:
    job = run(autos, autos.portal.add_case(documents=2, faults=faults))

    assert _cancel(autos, job.job_id) == job == status(autos, job.job_id)


def test_a_job_is_cancelled_before_its_case_is_listed(autos: Autos) -> None:
    number = autos.portal.add_case(documents=2)
    with held_down(autos, "worker"):
        job_id = start(autos, number).job.job_id
        job = _cancel(autos, job_id)

    assert job.state == pb.JOB_STATE_CANCELLED
    assert not job.progress.HasField("total_documents")
    assert (job.progress.pending_documents, job.progress.percent) == (0, 0)
    assert documents(autos, job) == []
    assert finish(autos, job_id) == job


def test_a_cancelled_case_starts_afresh(autos: Autos) -> None:
    held = _held_job(autos, 2)
    _cancel(autos, held.job_id)
    autos.portal.release(held.process_number)

    answer = start(autos, held.process_number)

    assert answer.created
    assert answer.job.job_id != held.job_id
    assert finish(autos, answer.job.job_id).state == pb.JOB_STATE_COMPLETED


def test_a_large_download_stops_within_two_seconds_and_leaves_nothing(autos: Autos) -> None:
    took_s = quickest(lambda: _cancelled_after_s(autos), STOPPED_S)

    print(f"a download in the middle was given up {took_s:.2f} s after CancelJob")
    assert took_s < STOPPED_S


def _cancelled_after_s(autos: Autos) -> float:
    """Return the seconds from CancelJob until nothing is left of a download in progress."""
    number = autos.portal.add_case(documents=1, size=30_000_000)
    autos.portal.hold(number, after_bytes=10_000_000)
    job = start(autos, number).job
    autos.portal.wait_held(number, 1)
    spool = Path(autos.stack.env["DATA_DIR"]) / "spool"
    assert list(spool.glob("*.part"))

    begun = time.monotonic()
    assert _cancel(autos, job.job_id).state == pb.JOB_STATE_CANCELLED
    until(lambda: not list(spool.glob("*.part")), 60, "the spool file stays")
    took_s = time.monotonic() - begun
    autos.portal.release(number)
    return took_s
