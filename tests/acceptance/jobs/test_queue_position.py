"""Test place and time: every answer about a running job has an estimated end; ended jobs do not."""

from __future__ import annotations

from itertools import islice

import pytest
from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from tests.system.job_calls import await_job, await_rest_given_back, run, start, status
from tests.system.running_autos import Autos
from tests.system.stream_checks import watch

LANES = 5
FIELDS = ("queue_position", "estimated_end_time", "hold")


def _fields_set(job: pb.Job) -> set[str]:
    return {field for field in FIELDS if job.HasField(field)}


def _held_job(autos: Autos) -> tuple[str, pb.Job]:
    """Return a case with its documents held at the portal, and its job."""
    number = autos.portal.add_case(documents=30)
    autos.portal.hold(number)
    job_id = start(autos, number).job.job_id
    autos.portal.wait_held(number, LANES)
    # A server's view of the queue is up to two seconds old.
    job = await_job(autos, job_id, lambda job: _fields_set(job) == {"estimated_end_time"})
    await_rest_given_back(autos, job, LANES)
    return number, job


def test_every_answer_about_a_running_job_has_its_estimated_end(autos: Autos) -> None:
    number, job = _held_job(autos)

    listed = autos.api.ListJobs(pb.ListJobsRequest(process_number=number), timeout=60).jobs
    joined = start(autos, number).job
    [opening] = islice(watch(autos, job_id=job.job_id), 1)
    cancelled = autos.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id), timeout=60).job
    autos.portal.release(number)

    for shown in (*listed, joined, opening.job):
        assert _fields_set(shown) == {"estimated_end_time"}
        assert shown.estimated_end_time.ToDatetime() > job.create_time.ToDatetime()
    assert _fields_set(cancelled) == set()


def test_an_estimate_that_moves_is_no_change(autos: Autos) -> None:
    number, job = _held_job(autos)

    [_, *rest] = islice(
        watch(
            autos,
            job_id=job.job_id,
            after_revision=status(autos, job.job_id).revision,
            heartbeat_interval=Duration(seconds=1),
        ),
        5,
    )
    autos.portal.release(number)

    assert all(message.HasField("heartbeat") for message in rest)


@pytest.mark.parametrize("priority", [pb.PRIORITY_HIGH, pb.PRIORITY_BULK])
def test_a_priority_is_shown_from_the_start_to_the_webhook(
    autos: Autos, priority: pb.Priority
) -> None:
    number = autos.portal.add_case(documents=3)

    path = f"/priority/{priority}"

    job = run(autos, number, priority=priority, webhook_url=autos.receiver.url_of(path))

    assert (job.state, job.priority) == (pb.JOB_STATE_COMPLETED, priority)
    assert _fields_set(job) == set()
    [delivery] = autos.receiver.wait_for(1, 60, path=path)
    sent = delivery.payload["data"]["job"]
    assert sent["priority"] == pb.Priority.Name(priority)
    assert sent.keys().isdisjoint(FIELDS)


def test_joining_raises_the_priority_of_a_running_job(autos: Autos) -> None:
    number, job = _held_job(autos)

    raised = start(autos, number, priority=pb.PRIORITY_HIGH).job
    lower = start(autos, number, priority=pb.PRIORITY_BULK).job
    autos.portal.release(number)

    assert (raised.job_id, raised.priority) == (job.job_id, pb.PRIORITY_HIGH)
    assert (lower.job_id, lower.priority) == (job.job_id, pb.PRIORITY_HIGH)
