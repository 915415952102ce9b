"""Test the real processes on a portal that counts, limits, sends 429 and becomes unavailable."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from google.protobuf.duration_pb2 import Duration

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from dev.processes.deadline import until
from tests.conftest import PORTAL_TOKEN
from tests.sandbox.admission import Visit
from tests.sandbox.court_cases.cnj import digits, process_number
from tests.sandbox.latency_profile import Burst, Latency
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.job_calls import CALL_S, documents, finish, run, start, status
from tests.system.running_autos import Autos, running_autos
from tests.system.running_processes import kill, processes_of

AT_ONCE, PER_COURT = 10, 6
LEASE_S = 5
PAUSE_S = 6.0
COURTS = ("8.26", "8.19", "5.02", "4.03")
# A court with a budget of different cases.
SCARCE_COURT, CASES = "5.15", 3


@pytest.fixture(scope="module")
def limited(
    servers: EmbeddedServers,
    receiver: WebhookReceiver,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Autos]:
    """Yield an Autos with the default limits and its own portal, which answers 429 above ten."""
    folder = tmp_path_factory.mktemp("limited", numbered=False)
    redis_url = urlsplit(servers.env["REDIS_URL"])._replace(path="/3").geturl()
    with (
        SandboxPortal(token=PORTAL_TOKEN) as portal,
        running_autos(
            servers,
            portal,
            receiver,
            second_port,
            folder,
            REDIS_URL=redis_url,
            LEASE_S=str(LEASE_S),
            PDPJ_MAX_CONCURRENT=str(AT_ONCE),
            PDPJ_MAX_CONCURRENT_PER_COURT=str(PER_COURT),
            PDPJ_PROBE_BASE_MS="500",
            PDPJ_PROBE_PATIENCE_S="120",
            PDPJ_PAUSE_BASE_MS="1000",
            PDPJ_CASES_PER_30_DAYS_BY_COURT=f"{SCARCE_COURT}={CASES}",
        ) as running,
    ):
        yield running


@pytest.fixture(autouse=True)
def reset_portal(limited: Autos) -> Iterator[None]:
    """Reset the portal to fast and faultless before and after each test."""
    portal = limited.portal
    portal.traffic.limit = AT_ONCE
    portal.traffic.retry_after_s = 2.0
    portal.weather.latency(Latency(median_s=0.1, sigma=0.6))
    portal.weather.plan(())
    portal.clear_log()
    yield
    portal.weather.plan(())


_sequences = iter(range(500, 9_999_999))


def _case(limited: Autos, count: int, court: str = "8.26") -> str:
    number = process_number(next(_sequences), court=court)
    return limited.portal.add_case(number=number, documents=count)


def _visits(limited: Autos, number: str) -> list[Visit]:
    return [v for v in limited.portal.traffic.visits if digits(v.number) == digits(number)]


def _assert_whole(limited: Autos, job: pb.Job) -> None:
    """Assert that all documents are stored, each after one successful request."""
    assert job.state == pb.JOB_STATE_COMPLETED
    files = [v for v in _visits(limited, job.process_number) if v.kind == "file"]
    good = [v.uuid for v in files if v.status == 200]
    assert len(good) == len(set(good)) == job.progress.total_documents


def _assert_within_limits(limited: Autos) -> None:
    traffic = limited.portal.traffic
    assert traffic.peak <= AT_ONCE
    assert max(traffic.peaks.values()) <= PER_COURT
    assert traffic.refused == 0


def test_the_portal_never_has_more_than_it_was_promised(limited: Autos) -> None:
    numbers = [_case(limited, 8, court) for court in COURTS for _ in range(4)]

    jobs = [start(limited, number).job for number in numbers]
    ended = [finish(limited, job.job_id) for job in jobs]

    for job in ended:
        _assert_whole(limited, job)
        assert all(d.attempt_count == 1 for d in documents(limited, job))
    _assert_within_limits(limited)
    # `make bench-guest` checks that all ten slots are used: here a stall may leave one idle.
    assert limited.portal.traffic.peak >= AT_ONCE / 2, "what may be used is not used"


def test_killed_workers_give_their_slots_back(limited: Autos) -> None:
    # Given workers that hold every slot of the portal
    held = [_case(limited, 5, court) for court in COURTS[:2]]
    for number in held:
        limited.portal.hold(number)
    jobs = [start(limited, number).job for number in held]
    for number in held:
        limited.portal.wait_held(number, 5)
    waiting = start(limited, _case(limited, 3, COURTS[2])).job

    # When they are killed
    kill(limited, "worker")
    for number in held:
        limited.portal.release(number)

    # Then other workers acquire the slots when the leases expire
    _assert_whole(limited, finish(limited, waiting.job_id))
    for job in jobs:
        assert finish(limited, job.job_id).state == pb.JOB_STATE_COMPLETED
    assert limited.portal.traffic.refused == 0


def test_429_pauses_all_requests_and_counts_no_attempt(limited: Autos) -> None:
    # Given a portal that accepts fewer requests than agreed, for some time
    numbers = [_case(limited, 10, court) for court in COURTS]
    limited.portal.traffic.limit, limited.portal.traffic.retry_after_s = 4, PAUSE_S

    jobs = [start(limited, number).job for number in numbers]
    until(lambda: limited.portal.traffic.refused > 0, 60, "no request is rejected")
    refused = next(v for v in limited.portal.traffic.visits if not v.is_admitted)
    # A busy machine may need seconds for the requests that were under way.
    begin, end = refused.begin + PAUSE_S / 2, refused.begin + PAUSE_S - 0.1
    until(lambda: time.time() > end, 60, "time does not pass")
    late = [v for v in limited.portal.traffic.visits if begin < v.begin < end]
    limited.portal.traffic.limit = AT_ONCE

    # Then no request is sent within the pause, and all documents are stored in the end
    assert late == [], "the portal got a request in its pause"
    for job in jobs:
        ended = finish(limited, job.job_id)
        _assert_whole(limited, ended)
        assert all(d.attempt_count == 1 for d in documents(limited, ended))
    assert limited.portal.traffic.peak <= AT_ONCE


def test_a_court_that_goes_away_is_probed_and_nothing_is_lost(limited: Autos) -> None:
    # Given a court that answers 503 for eight seconds in the middle of jobs
    away_s = 8.0
    begun = limited.portal.weather.plan([Burst(0.5, 0.5 + away_s, 503, "8.26")])
    jobs = [start(limited, _case(limited, 12, "8.26")).job for _ in range(2)]
    other = run(limited, _case(limited, 12, "8.19"))

    # Then another court is not affected
    assert other.state == pb.JOB_STATE_COMPLETED

    # And the court gets only a few requests, and all documents are stored in the end
    for job in jobs:
        assert finish(limited, job.job_id).state == pb.JOB_STATE_COMPLETED
    inside = [
        v
        for v in limited.portal.traffic.visits
        if v.court == "8.26" and begun + 1.5 < v.begin < begun + away_s and v.status == 503
    ]
    # Requests that open the circuit, others in flight, and probes after 0.5, 1, 2 and 4 s.
    most = 2 * PER_COURT + 5
    assert len(inside) <= most, "the court was hammered while it was away"
    fetched = [d for job in jobs for d in documents(limited, job)]
    burnt = sum(d.attempt_count - 1 for d in fetched)
    assert burnt <= 3, "more attempts counted than the failures that opened the circuit"
    assert limited.portal.traffic.peak <= AT_ONCE


def test_a_job_of_an_unavailable_court_has_a_hold_with_its_time(limited: Autos) -> None:
    limited.portal.weather.plan([Burst(0, 60, 503, "8.26")])
    job = start(limited, _case(limited, 5, "8.26")).job
    others = [start(limited, _case(limited, 5, "8.26")).job for _ in range(4)]

    until(lambda: status(limited, job.job_id).HasField("hold"), 60, "the job has no hold")
    held = status(limited, job.job_id)
    assert held.hold.reason == "COURT_AWAY"
    assert held.hold.HasField("until_time")
    assert held.state == pb.JOB_STATE_PROCESSING

    limited.portal.weather.plan(())
    for each in (job, *others):
        ended = finish(limited, each.job_id)
        assert ended.state == pb.JOB_STATE_COMPLETED
        assert not ended.HasField("hold")


def test_small_jobs_that_come_late_end_long_before_a_large_one(limited: Autos) -> None:
    large = start(limited, _case(limited, 150, "8.26")).job
    until(
        lambda: status(limited, large.job_id).progress.completed_documents > 10,
        60,
        "it stands still",
    )

    small = [start(limited, _case(limited, 5, "8.26")).job for _ in range(6)]
    for job in small:
        _assert_whole(limited, finish(limited, job.job_id))

    left = status(limited, large.job_id).progress.pending_documents
    assert left > 30, "small jobs waited for the large one"
    _assert_whole(limited, finish(limited, large.job_id))
    _assert_within_limits(limited)


def test_bulk_waits_for_all_others(limited: Autos) -> None:
    bulk = start(limited, _case(limited, 60, "8.26"), priority=pb.PRIORITY_BULK).job
    normal = [start(limited, _case(limited, 10, "8.26")).job for _ in range(4)]

    for job in normal:
        finish(limited, job.job_id)
    assert status(limited, bulk.job_id).progress.pending_documents > 20
    _assert_whole(limited, finish(limited, bulk.job_id))


def test_a_frozen_worker_costs_its_slots_only_for_its_lease(limited: Autos) -> None:
    number = _case(limited, 5, "8.26")
    limited.portal.hold(number)
    frozen = start(limited, number).job
    limited.portal.wait_held(number, 5)
    pids = [pid for pid, name in processes_of(limited, "worker").items() if name == "worker"]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        limited.portal.release(number)
        until(lambda: len(_held_files(limited, number)) == 0, 60, "the portal still has them")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    ended = finish(limited, frozen.job_id)
    assert ended.state == pb.JOB_STATE_COMPLETED
    assert limited.portal.traffic.refused == 0


def _held_files(limited: Autos, number: str) -> list[Visit]:
    return [v for v in _visits(limited, number) if v.kind == "file" and v.end is None]


def test_no_case_beyond_the_budget_is_listed_and_other_jobs_go_on(limited: Autos) -> None:
    numbers = [_case(limited, 2, SCARCE_COURT) for _ in range(2 * CASES)]
    jobs = [start(limited, number).job for number in numbers]
    elsewhere = run(limited, _case(limited, 2))
    assert elsewhere.state == pb.JOB_STATE_COMPLETED

    def held() -> list[pb.Job]:
        now = [status(limited, job.job_id) for job in jobs]
        return [job for job in now if job.hold.reason == "CASE_BUDGET"]

    until(lambda: len(held()) == CASES, 60, "Not the jobs beyond the budget are held.")
    waiting = {job.job_id for job in held()}
    for job in jobs:
        if job.job_id not in waiting:
            _assert_whole(limited, finish(limited, job.job_id))
    assert sum(bool(_visits(limited, number)) for number in numbers) == CASES
    for job in held():
        left_s = job.hold.until_time.seconds - time.time()
        assert 29 * 86_400 < left_s < 31 * 86_400

    # A listed case is asked for again, free of charge.
    again = next(job for job in jobs if job.job_id not in waiting)
    assert run(limited, again.process_number, max_age=Duration()).state == pb.JOB_STATE_COMPLETED
    for job_id in waiting:
        limited.api.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=CALL_S)
