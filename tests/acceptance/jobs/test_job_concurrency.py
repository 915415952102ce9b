"""Test five lanes a job: no more run at once, and no lane waits for a slow document."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from autos.downloads.v1 import downloads_pb2 as pb
from tests.sandbox.court_cases.cases import CASES
from tests.system.job_calls import await_job, documents, finish, run, start, status
from tests.system.running_autos import Autos
from tests.timing import quickest

LANES = 5


def _cancel(autos: Autos, job_id: str) -> pb.Job:
    job: pb.Job = autos.api.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=60).job
    return job


def test_a_job_has_five_files_at_the_portal_and_never_more(hasty: Autos) -> None:
    number = hasty.portal.add_case(documents=30)
    hasty.portal.clear_log()
    hasty.portal.hold(number)
    job = start(hasty, number).job
    hasty.portal.wait_held(number, LANES)

    hasty.portal.release(number)
    ended = finish(hasty, job.job_id)

    assert ended.state == pb.JOB_STATE_COMPLETED
    assert hasty.portal.concurrent_peak == LANES


def test_a_slow_document_holds_up_no_other(autos: Autos) -> None:
    number = autos.portal.add_case(documents=30, faults={2: "drip"})
    job = start(autos, number).job

    await_job(autos, job.job_id, lambda job: job.progress.completed_documents == 29)

    slow = documents(autos, job)[2]
    assert slow.state == pb.DOCUMENT_STATE_DOWNLOADING
    assert status(autos, job.job_id).state == pb.JOB_STATE_PROCESSING
    assert autos.portal.request_count(number) == 1
    cancelled = _cancel(autos, job.job_id)
    assert cancelled.state == pb.JOB_STATE_CANCELLED
    assert cancelled.progress.completed_documents == 29


def test_a_small_job_does_not_wait_for_a_large_one(autos: Autos) -> None:
    large = start(autos, autos.portal.add_case(documents=300, latency_s=0.1)).job
    await_job(autos, large.job_id, lambda job: job.progress.completed_documents > LANES)

    small = start(autos, autos.portal.add_case(documents=5)).job

    assert finish(autos, small.job_id).state == pb.JOB_STATE_COMPLETED
    assert _cancel(autos, large.job_id).state == pb.JOB_STATE_CANCELLED


def test_a_slow_portal_slows_nothing_but_itself(autos: Autos) -> None:
    # The later attempts are for a machine that was busy during the first.
    numbers = chain([CASES["slow"].number], _slow_cases(autos))

    part = quickest(lambda: _part_of_one_lane(autos, next(numbers)), 0.5)

    # Five lanes need far less time than one lane.
    assert part < 0.5


def _slow_cases(autos: Autos) -> Iterator[str]:
    while True:
        yield autos.portal.add_case(documents=12, latency_s=1.5)


def _part_of_one_lane(autos: Autos, number: str) -> float:
    """Return the duration of a job as a fraction of the portal's time for all its files."""
    case = autos.portal.case(number)
    assert case
    ended = run(autos, number)
    assert ended.state == pb.JOB_STATE_COMPLETED
    took = ended.end_time.ToDatetime() - ended.create_time.ToDatetime()
    return took.total_seconds() / sum(document.latency_s for document in case.documents)
