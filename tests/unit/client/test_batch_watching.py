"""Test the watch of batches: what is read again, and when it gives up."""

from __future__ import annotations

import pytest

from autos._client.watching import EVERY_S, BatchWatching
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import TookTooLong, Unavailable

GONE = Unavailable("gone", reason="UNAVAILABLE")


def _batch(batch_id: str, *states: pb.JobState) -> pb.Batch:
    jobs = [pb.JobStateCount(state=state, count=1) for state in states]
    return pb.Batch(batch_id=batch_id, jobs=jobs)


def test_only_batches_with_running_jobs_are_read_again() -> None:
    watching = BatchWatching(["a", "b", "c"], timeout_s=None, patience_s=10)
    assert watching.running == ["a", "b", "c"]

    watching.take(_batch("a", pb.JOB_STATE_COMPLETED, pb.JOB_STATE_PROCESSING))
    watching.take(_batch("b", pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED))
    # A batch of refused requests has no jobs.
    watching.take(_batch("c"))

    assert watching.running == ["a"]
    assert [batch.batch_id for batch in watching.batches] == ["a", "b", "c"]


def test_it_ends_after_its_time_and_after_its_patience() -> None:
    now = [0.0]
    watching = BatchWatching(["a"], timeout_s=100, patience_s=10, clock=lambda: now[0])
    call, limit_s = watching.attempt("a")
    assert (call.request.batch_id, limit_s, watching.rest_s()) == ("a", 10, EVERY_S)

    now[0] = 9.0
    watching.take(_batch("a", pb.JOB_STATE_PENDING))
    now[0] = 18.0
    assert 0 < watching.pause_s(GONE) < 1
    now[0] = 19.0
    with pytest.raises(Unavailable):
        watching.pause_s(GONE)
    now[0] = 99.0
    assert watching.rest_s() == watching.attempt("a")[1] == 1
    now[0] = 100.0
    with pytest.raises(TookTooLong):
        watching.rest_s()
