"""Kill processes and empty Redis in the middle of jobs; every job ends as it should."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis

from autos import Client
from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from tests.acceptance.deploy.deployment import started
from tests.system.bucket import StoredBucket, sandbox_sha256
from tests.system.job_calls import await_job, documents, finish, run, start
from tests.system.running_autos import Autos
from tests.system.running_processes import (
    has_spool_file_open,
    held_down,
    kill,
    processes_of,
    stopped,
)
from tests.timing import quickest

BACK_S = 2.0
REDIS_LOSS_S = 15.0
LANES = 5
# Seconds for which the portal delays a listing that the test interrupts.
LISTING_S = 30.0
PATIENCE_S = 60.0


def _held(autos: Autos, *, documents: int, **case: Any) -> pb.Job:
    """Return a job with its first five files held at the portal."""
    number = autos.portal.add_case(documents=documents, **case)
    autos.portal.hold(number)
    job = start(autos, number).job
    autos.portal.wait_held(number, LANES)
    return job


def _assert_whole(autos: Autos, job: pb.Job) -> list[pb.Document]:
    """Assert that the bucket holds every document byte for byte, after one attempt each."""
    case = autos.portal.case(job.process_number)
    assert case
    assert job.state == pb.JOB_STATE_COMPLETED
    found = documents(autos, job)
    bucket = StoredBucket(autos)
    for source, document in zip(case.documents, found, strict=True):
        assert document.sha256 == sandbox_sha256(source) == bucket.sha256(document.object_key)
        assert document.attempt_count == 1
    assert bucket.keys_of_case(job.process_number) == {each.object_key for each in found}
    return found


def _request_counts(autos: Autos, job: pb.Job) -> list[int]:
    case = autos.portal.case(job.process_number)
    assert case
    return [autos.portal.request_count(document.uuid) for document in case.documents]


def test_killed_workers_cost_only_what_they_had_in_hand(hasty: Autos) -> None:
    fetching = _held(hasty, documents=12)
    hasty.portal.latency_s = LISTING_S
    listing = start(hasty, hasty.portal.add_case(documents=2)).job
    requests = partial(hasty.portal.request_count, listing.process_number)
    until(lambda: requests() == 1, PATIENCE_S, "Not listed.")

    kill(hasty, "worker")
    hasty.portal.latency_s = 0.0
    hasty.portal.release(fetching.process_number)

    _assert_whole(hasty, finish(hasty, fetching.job_id))
    _assert_whole(hasty, finish(hasty, listing.job_id))
    # Each of the slices had one request in progress.
    assert sorted(_request_counts(hasty, fetching)) == [1] * (12 - LANES) + [2] * LANES
    assert hasty.portal.request_count(fetching.process_number) == 1
    assert requests() == 2


def test_an_uploader_killed_in_the_middle_of_an_upload_costs_the_portal_nothing(
    hasty: Autos, servers: EmbeddedServers
) -> None:
    s3 = servers.supervisor.pid_of("s3")
    assert s3
    with stopped(s3):
        job = start(hasty, hasty.portal.add_case(documents=8, size=3_000_000)).job
        uploaders = processes_of(hasty, "uploader")
        until(lambda: any(map(has_spool_file_open, uploaders)), PATIENCE_S, "Nothing is uploaded.")
        kill(hasty, "uploader")

    ended = finish(hasty, job.job_id)

    _assert_whole(hasty, ended)
    assert _request_counts(hasty, ended) == [1] * 8


def test_a_worker_that_comes_back_too_late_changes_nothing(hasty: Autos) -> None:
    leftovers = _spooled(hasty)
    job = _held(hasty, documents=12, size=2_000_000)
    sleeper = next(filter(has_spool_file_open, processes_of(hasty, "worker")))

    with stopped(sleeper):
        hasty.portal.release(job.process_number)
        ended = finish(hasty, job.job_id)
        found = _assert_whole(hasty, ended)
    until(lambda: _spooled(hasty) <= leftovers, PATIENCE_S, "Files stay in the spool.")

    assert _assert_whole(hasty, finish(hasty, job.job_id)) == found
    assert finish(hasty, job.job_id) == ended
    requests = _request_counts(hasty, ended)
    assert set(requests) == {1, 2}
    assert requests.count(2) <= LANES


def _spooled(autos: Autos) -> set[Path]:
    """Return the files in the spools. Files of killed processes stay for a minute."""
    return set((Path(autos.stack.env["DATA_DIR"]) / "spool").glob("*.part"))


def test_an_absent_s3_costs_the_portal_nothing(hasty: Autos, servers: EmbeddedServers) -> None:
    leftovers = _spooled(hasty)
    servers.supervisor.hold("s3")
    try:
        job = start(hasty, hasty.portal.add_case(documents=7)).job
        postponed = f'"job_id": "{job.job_id}"'
        until(
            lambda: any("upload postponed" in line and postponed in line for line in hasty.lines),
            PATIENCE_S,
            "Nothing was to be uploaded.",
        )
    finally:
        servers.supervisor.release("s3")
    servers.await_ready("s3")

    ended = finish(hasty, job.job_id)

    _assert_whole(hasty, ended)
    assert _request_counts(hasty, ended) == [1] * 7
    until(lambda: _spooled(hasty) <= leftovers, PATIENCE_S, "Files stay in the spool.")


def test_workers_killed_with_files_in_memory_cost_only_those(
    hasty: Autos, servers: EmbeddedServers
) -> None:
    s3 = servers.supervisor.pid_of("s3")
    assert s3
    with stopped(s3):
        job = start(hasty, hasty.portal.add_case(documents=12)).job
        until(lambda: sum(_request_counts(hasty, job)) >= LANES, PATIENCE_S, "Not fetched.")
        kill(hasty, "worker")
        in_memory = _request_counts(hasty, job)

    ended = finish(hasty, job.job_id)

    _assert_whole(hasty, ended)
    # If the bucket did not answer for two seconds, the files would lie in the spool.
    for before, after in zip(in_memory, _request_counts(hasty, ended), strict=True):
        assert after == 1 or (before, after) == (1, 2)


def test_a_watcher_whose_server_is_killed_goes_on_where_it_was(hasty: Autos) -> None:
    job = _held(hasty, documents=12)
    revisions: list[tuple[str, int]] = []
    request = pb.WatchProgressRequest(job_id=job.job_id)
    stream = hasty.api.WatchProgress(request, timeout=PATIENCE_S)
    revision = _follow(stream, revisions, most=12)

    kill(hasty, "server")
    with pytest.raises(grpc.RpcError) as error:
        _follow(stream, revisions)
    hasty.portal.release(job.process_number)
    again = pb.WatchProgressRequest(job_id=job.job_id, after_revision=revision)
    _follow(hasty.api.WatchProgress(again, timeout=PATIENCE_S, wait_for_ready=True), revisions)

    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert len(revisions) == len(set(revisions))
    last = dict(sorted(revisions, key=lambda pair: pair[1]))
    assert last == {d.document_id: d.revision for d in documents(hasty, job)}


def _follow(
    stream: Iterator[pb.WatchProgressResponse], revisions: list[tuple[str, int]], most: int = 0
) -> int:
    """Record at most `most` documents of a stream; return the revision of the last message."""
    revision = 0
    for message in stream:
        revision = message.revision
        if message.HasField("document"):
            revisions.append((message.document.document_id, message.document.revision))
            if len(revisions) == most:
                break
    return revision


def test_an_emptied_redis_costs_seconds_and_no_work(hasty: Autos) -> None:
    paths = (f"/flushed/{number}" for number in itertools.count(1))

    took_s = quickest(lambda: _flushed_s(hasty, next(paths)), REDIS_LOSS_S, tries=3)

    print(f"after FLUSHALL everything was done in {took_s:.1f} s")
    assert took_s < REDIS_LOSS_S


def _flushed_s(hasty: Autos, path: str) -> float:
    """Return the seconds from FLUSHALL until all pending work is done, each piece once."""
    with held_down(hasty, "notifier"):
        number = hasty.portal.add_case(documents=1)
        untold = run(hasty, number, webhook_url=hasty.receiver.url_of(path))
        half = _held(hasty, documents=12)
        with held_down(hasty, "worker"):
            fresh = start(hasty, hasty.portal.add_case(documents=2)).job
            with redis.Redis.from_url(hasty.stack.env["REDIS_URL"]) as client:
                client.flushall()
            begun = time.monotonic()
    hasty.portal.release(half.process_number)

    _assert_whole(hasty, finish(hasty, half.job_id))
    _assert_whole(hasty, finish(hasty, fresh.job_id))
    await_job(hasty, untold.job_id, lambda job: job.webhooks[0].state == pb.WEBHOOK_STATE_DELIVERED)

    took_s = time.monotonic() - begun
    assert len(hasty.receiver.deliveries_at(path)) == 1
    return took_s


def test_every_killed_process_is_back_within_two_seconds(hasty: Autos) -> None:
    back_s = quickest(lambda: kill(hasty, *hasty.stack.processes.names), BACK_S)

    assert back_s < BACK_S
    print(f"all processes were back after {back_s:.2f} s")
    job = pb.StartDownloadRequest(process_number=hasty.portal.add_case(documents=6))
    started = hasty.api.StartDownload(job, timeout=PATIENCE_S, wait_for_ready=True).job
    _assert_whole(hasty, finish(hasty, started.job_id))


def test_worker_and_server_are_exchanged_in_the_middle_of_a_watched_job(hasty: Autos) -> None:
    # Given a job with files under way, and a caller that watches it
    job = _held(hasty, documents=12)
    messages: list[pb.WatchProgressResponse] = []
    address = hasty.stack.run_file.address
    with ExitStack() as stack:
        watching = stack.enter_context(ThreadPoolExecutor(1))
        client = stack.enter_context(Client(address))
        watch = client.watch(job.job_id, timeout_s=3 * PATIENCE_S)
        watched = watching.submit(messages.extend, watch)
        until(lambda: len(messages) > LANES, PATIENCE_S, "Nothing is watched.")

        # When a new worker begins beside the old one, and the old one gives back what it holds
        stack.enter_context(
            started([sys.executable, "-m", "actors", "worker"], hasty.stack.env, ROOT)
        )
        with held_down(hasty, "worker"):
            hasty.portal.wait_held(job.process_number, 2 * LANES, PATIENCE_S)
            # and a new server replaces the one of the watch
            with held_down(hasty, "server"):
                pass
            hasty.portal.release(job.process_number)
            watched.result(3 * PATIENCE_S)

    # Then the watch has continued to the end, and no document counts a failed attempt
    ended = messages[-1].job
    _assert_whole(hasty, ended)
    seen = [each.document.document_id for each in messages if each.HasField("document")]
    assert len(set(seen)) == 12
    assert [each.revision for each in messages] == sorted(each.revision for each in messages)
