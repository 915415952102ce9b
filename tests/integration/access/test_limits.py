"""Test the limits of a client: exact, and shared by all server processes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import grpc
import grpc.aio
import pytest
import redis
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from structlog.testing import capture_logs

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.processes.deadline import until
from server.dependencies import ServerDependencies
from server.rpc.starts.start_steps import PendingStart
from storage import sql
from storage.errors import LimitReached
from storage.jobs import job_queries, reruns
from storage.jobs.call_rate_limiter import CallRateLimiter
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.records import JobView
from storage.scheduling import reconciliation
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.grpc_server import (
    WIDE,
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.system.refused_calls import RefusedCall, refusal_of

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


def _start(database: Database, most: int | None, number: str | None = None, **more: Any) -> bool:
    """Return True if a job was made, None if the limit refused it."""
    wanted = factories.request(number, jobs_at_once=most, **more)
    return factories.start(database, wanted)[1]


def _running(database: Database, client: str = CLIENT) -> int:
    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT count(*) FROM jobs WHERE client = %(client)s AND end_time IS NULL",
            client=client,
        )
    return int(row["count"])


@pytest.mark.parametrize("most", [1, 3, 20])
def test_never_one_job_too_many_and_never_one_too_few(database: Database, most: int) -> None:
    def attempt() -> bool:
        try:
            return _start(database, most)
        except LimitReached:
            return False

    made = run_concurrently([attempt] * 30)

    assert sum(made) == _running(database) == most


def test_an_ended_job_gives_its_seat_to_the_next(database: Database) -> None:
    view, _ = factories.start(database, factories.request(jobs_at_once=1))
    with pytest.raises(LimitReached) as caught:
        _start(database, 1)
    assert (caught.value.reason, caught.value.limit) == ("TOO_MANY_JOBS", 1)

    # Another client has permits of its own.
    assert _start(database, 1, client="another")
    job_queries.cancel(database, CLIENT, view.job.job_id)
    assert _start(database, 1)


def test_joining_and_repeating_are_never_one_job_too_many(database: Database) -> None:
    number, request_id = factories.process_number(), uuid4()
    assert _start(database, 1, number, request_id=request_id)

    assert not _start(database, 1, number)
    assert not _start(database, 1, number, request_id=request_id)
    assert not _start(database, 1, number, request_id=uuid4())
    with pytest.raises(LimitReached):
        _start(database, 1)


def test_a_job_with_all_documents_stored_needs_no_permit(database: Database) -> None:
    number = factories.process_number()
    _start(database, 1)
    known = factories.listing_import(number, factories.listing(0))

    view, is_new = factories.start(database, factories.request(number, jobs_at_once=1), known)

    assert is_new
    assert view.job.is_ended


def test_a_lower_limit_holds_as_soon_as_the_jobs_of_before_have_ended(database: Database) -> None:
    started = [factories.start(database, factories.request(jobs_at_once=50))[0] for _ in range(10)]
    for view in started[:8]:
        with pytest.raises(LimitReached):
            _start(database, 3)
        job_queries.cancel(database, CLIENT, view.job.job_id)

    assert _start(database, 3)
    with pytest.raises(LimitReached):
        _start(database, 3)
    assert _running(database) == 3


@pytest.mark.parametrize(
    ("taken", "seats", "up_to"),
    [
        (set(), 3, 3),
        ({1, 2}, 3, 3),
        ({9}, 3, 2),
        ({3, 9}, 3, 1),
        ({2, 3, 9}, 3, 0),
        ({7, 8, 9}, 3, 0),
        ({1, 2, 3, 4, 5}, 3, 0),
    ],
)
@pytest.mark.parametrize("is_waiting", [False, True])
def test_seats_are_given_where_all_together_stay_below_the_limit(
    database: Database, taken: set[int], seats: int, up_to: int, *, is_waiting: bool
) -> None:
    side = -1 if is_waiting else 1
    for seat in {side * each for each in taken} | {-side * each for each in (1, 2, 9)}:
        view, _ = factories.start(database)
        factories.execute(
            database,
            "UPDATE jobs SET seat = %(seat)s WHERE job_id = %(job_id)s",
            seat=seat,
            job_id=view.job.job_id,
        )

    given = set()
    for _ in range(20 * seats):
        with database.autocommit() as transaction:
            row = transaction.only(
                sql.function("free_seat").call, client=CLIENT, seats=seats, is_waiting=is_waiting
            )
        given |= {seat for seat in row.values() if seat is not None}

    assert given == {side * each for each in set(range(1, up_to + 1)) - taken}


def test_jobs_that_wait_for_their_time_have_a_limit_of_their_own(database: Database) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    for _ in range(2):
        assert _start(database, 1, waiting_jobs=2, not_before_time=later)

    with pytest.raises(LimitReached) as caught:
        _start(database, 1, waiting_jobs=2, not_before_time=later)

    assert (caught.value.reason, caught.value.limit) == ("TOO_MANY_JOBS", 2)
    assert _start(database, 1, waiting_jobs=2)
    with pytest.raises(LimitReached):
        _start(database, 1, waiting_jobs=2, not_before_time=later - timedelta(days=1))
    assert _running(database) == 3


def test_a_rerun_needs_a_seat_too(database: Database, objects: Objects) -> None:
    job_id = factories.listed_job(database, 1)
    factories.age(database, job_id, 4_000)
    assert reconciliation.time_out(database) == [job_id]
    other = factories.start(database, factories.request(jobs_at_once=1))[0].job.job_id

    def rerun() -> JobView:
        return reruns.rerun(
            database,
            objects,
            CLIENT,
            job_id,
            request_id=None,
            job_deadline_s=60,
            limit_s=60,
            jobs_at_once=1,
        )[0]

    with pytest.raises(LimitReached):
        rerun()
    job_queries.cancel(database, CLIENT, other)
    assert not rerun().job.is_ended
    with pytest.raises(LimitReached):
        _start(database, 1)


def test_a_minutes_worth_may_come_at_once_and_then_evenly(redis_url: str) -> None:
    rate = CallRateLimiter(redis_url)
    for _ in range(60):
        rate.count("c", 60)

    with pytest.raises(LimitReached) as caught:
        rate.count("c", 60)
    rate.count("another", 60)

    assert caught.value.reason == "TOO_MANY_STARTS"
    assert 0 < caught.value.retry_in_s <= 1
    until(lambda: _may_start(rate, 60), 60, "it never fills again")


def test_the_rate_holds_over_processes(redis_url: str) -> None:
    processes = [CallRateLimiter(redis_url) for _ in range(3)]
    begun = time.monotonic()

    tries = [partial(_may_start, process, 300) for process in processes]
    made = sum(sum(run_concurrently(tries)) for _ in range(150))

    # Five permits are added each second; those that a process took and did not use are lost.
    filled = (time.monotonic() - begun) * 5
    assert 300 - 3 * 3 <= made <= 300 + filled + 1


@pytest.mark.parametrize("per_minute", [1, 60])
def test_without_redis_each_process_holds_the_rate_for_itself(per_minute: int) -> None:
    now = [1_000.0]
    rate = CallRateLimiter(NOBODY, clock=lambda: now[0])

    assert [_may_start(rate, per_minute) for _ in range(per_minute + 1)] == [
        *[True] * per_minute,
        False,
    ]
    now[0] += 60 / per_minute
    assert _may_start(rate, per_minute)
    assert not _may_start(rate, per_minute)


def test_a_valkey_that_refuses_the_count_is_logged_once_and_the_rate_holds_for_each_process(
    redis_url: str,
) -> None:
    now, user = [1_000.0], f"u{uuid4().hex}"
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_setuser(user, enabled=True, nopass=True, keys=["*"], commands=["+ping"])
        try:
            url = f"redis://{user}:any@{redis_url.rpartition('@')[2]}"
            rate = CallRateLimiter(url, clock=lambda: now[0])
            with capture_logs() as lines:
                for _ in range(3):
                    assert _may_start(rate, 60)
                    now[0] += 10
        finally:
            admin.acl_deluser(user)

    assert [(line["event"], line["operation"], line["code"]) for line in lines] == [
        ("part refuses", "limits of calls", "NOPERM")
    ]


def _may_start(rate: CallRateLimiter, per_minute: int) -> bool:
    try:
        rate.count("c", per_minute)
    except LimitReached:
        return False
    return True


ONE = replace(WIDE, jobs_at_once=1, open_watches=1)


async def _refusal(call: Any) -> tuple[RefusedCall, Any]:
    """Return the refusal, parsed, and the error itself."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value), caught.value


def _quota_of(error: Any) -> tuple[str, str, str]:
    """Return the subject, the limit and the text of the QuotaFailure."""
    [packed] = [
        detail
        for detail in rpc_status.from_call(error).details
        if detail.Is(error_details_pb2.QuotaFailure.DESCRIPTOR)
    ]
    failure = error_details_pb2.QuotaFailure()
    packed.Unpack(failure)
    [violation] = failure.violations
    return violation.subject, violation.quota_id, violation.description


def test_a_limit_error_names_the_client_and_the_retry_delay(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    file = write_clients(
        tmp_path / "clients.json",
        entry("few-jobs", "a", limits={"jobs_at_once": 1}),
        entry("few-starts", "b", limits={"starts_per_minute": 1}),
    )

    async def scenario() -> None:
        async with running_server(parts, file) as server:
            for token, name, reason, limit in (
                ("a", "few-jobs", "TOO_MANY_JOBS", "jobs_at_once"),
                ("b", "few-starts", "TOO_MANY_STARTS", "starts_per_minute"),
            ):
                async with api_of(server.address, token) as api:
                    first, second = (
                        pb.StartDownloadRequest(process_number=number)
                        for number in ("1003579-22.2025.8.26.0564", "0000001-05.2025.8.26.0100")
                    )
                    await api.StartDownload(first)
                    refused, error = await _refusal(api.StartDownload(second))
                    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
                    assert (refused.domain, refused.reason) == ("autos", reason)
                    assert _quota_of(error) == (f"client:{name}", limit, refused.text)
                    pushback = dict(error.trailing_metadata())["grpc-retry-pushback-ms"]
                    assert refused.retry_after_s == int(pushback) / 1000
                    assert refused.retry_after_s > 1

    asyncio.run(scenario())


def test_one_watch_too_many_is_refused_and_one_that_ends_makes_room(
    parts: ServerDependencies,
) -> None:
    async def scenario() -> None:
        async with running_server(parts, limits=ONE) as server, api_of(server.address) as api:
            started = await api.StartDownload(
                pb.StartDownloadRequest(process_number="1003579-22.2025.8.26.0564")
            )
            request = pb.WatchProgressRequest(job_id=started.job.job_id)
            first = api.WatchProgress(request)
            assert (await first.read()).HasField("job")
            refused, error = await _refusal(api.WatchProgress(request).read())
            assert refused.reason == "TOO_MANY_WATCHES"
            assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert _quota_of(error)[0] == "client:default"

            # Cancelling, a deadline and an error each free a place.
            first.cancel()
            await _until_watched(api, request, timeout=1.5)
            unknown = pb.WatchProgressRequest(job_id=str(uuid4()))
            await _until_refused(api, unknown, "JOB_NOT_FOUND")
            last = await _until_watched(api, request)
            await api.CancelJob(pb.CancelJobRequest(job_id=started.job.job_id))
            while (message := await last.read()) is not grpc.aio.EOF:
                end = message
            assert end.job.state == pb.JOB_STATE_CANCELLED
            await _until_watched(api, request)

    asyncio.run(scenario())


async def _until_watched(api: Any, request: Any, timeout: float = 30) -> Any:
    """Open a watch as soon as the limit allows it."""
    async with asyncio.timeout(60):
        while True:
            call = api.WatchProgress(request, timeout=timeout)
            try:
                assert (await call.read()).HasField("job")
            except grpc.aio.AioRpcError as error:
                if error.code() not in BUSY:
                    raise
                await asyncio.sleep(0.02)
            else:
                return call


BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)


async def _until_refused(api: Any, request: Any, reason: str) -> None:
    async with asyncio.timeout(60):
        while True:
            refused, _ = await _refusal(api.WatchProgress(request).read())
            if refused.reason == reason:
                return
            await asyncio.sleep(0.02)


def test_a_client_that_retries_by_policy_obeys_the_pushback(
    parts: ServerDependencies, database: Database
) -> None:
    """gRPC's own client: without the pushback it would have given up after some milliseconds."""
    policy = {
        "maxAttempts": 2,
        "initialBackoff": "0.001s",
        "maxBackoff": "0.001s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    options = [("grpc.service_config", json.dumps(config)), ("grpc.enable_retries", 1)]
    limits = replace(ONE, starts_per_minute=60, jobs_at_once=1_000)

    async def scenario() -> None:
        async with (
            running_server(parts, limits=limits) as server,
            grpc.aio.insecure_channel(server.address, options=options) as channel,
        ):
            for _ in range(60):
                _may_count(parts, 60)
            api = pb_grpc.DownloadServiceStub(channel)
            request = pb.StartDownloadRequest(process_number="1003579-22.2025.8.26.0564")
            answer = await api.StartDownload(request, timeout=60)
            assert answer.created

    asyncio.run(scenario())


def _may_count(parts: ServerDependencies, per_minute: int) -> None:
    parts.start_rate.count("default", per_minute)


def test_what_is_no_request_is_refused_and_counts_for_nothing(parts: ServerDependencies) -> None:
    service = "/autos.downloads.v1.DownloadService/"
    good = pb.StartDownloadRequest(process_number="1003579-22.2025.8.26.0564")
    wrong = pb.StartDownloadRequest(process_number="1003579-23.2025.8.26.0564")
    # Method, bytes, metadata, and the expected refusal.
    attempts: list[tuple[str, bytes, list[tuple[str, str]], grpc.StatusCode]] = [
        ("StartDownload", b"x" * 1_100_000, [], grpc.StatusCode.RESOURCE_EXHAUSTED),
        (
            "StartDownload",
            good.SerializeToString(),
            [("padding", "x" * 17_000)],
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
        (
            "StartDownload",
            good.SerializeToString()[:-1],
            [],
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        ("StartDownload", wrong.SerializeToString(), [], grpc.StatusCode.INVALID_ARGUMENT),
        ("StopTheWorld", b"", [], grpc.StatusCode.UNIMPLEMENTED),
    ]

    async def scenario() -> None:
        async with (
            running_server(parts, limits=replace(ONE, starts_per_minute=1)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            for method, raw, metadata, code in attempts:
                send: Any = channel.unary_unary(service + method)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await send(raw, metadata=metadata, timeout=30)
                assert caught.value.code() == code, method
            api = pb_grpc.DownloadServiceStub(channel)
            assert (await api.StartDownload(good, timeout=30)).created

    asyncio.run(scenario())


METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["DownloadService"].methods]


def test_a_call_without_a_whole_request_is_ended_at_once(parts: ServerDependencies) -> None:
    async def scenario() -> list[RefusedCall]:
        async with running_server(parts) as server:
            return await _refusals(server.address, _nothing)

    for refused in asyncio.run(scenario()):
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.reason == "MALFORMED_REQUEST"


def test_no_message_of_an_unknown_caller_is_read(parts: ServerDependencies, tmp_path: Path) -> None:
    file = write_clients(tmp_path / "clients.json", entry("somebody"))

    async def scenario() -> list[RefusedCall]:
        async with running_server(parts, file) as server:
            return await _refusals(server.address, _no_end)

    assert {refused.reason for refused in asyncio.run(scenario())} == {"NO_TOKEN"}


async def _nothing() -> AsyncIterator[bytes]:
    """Send nothing and end the stream before a request is complete."""
    no_parts: tuple[bytes, ...] = ()
    for part in no_parts:
        yield part


async def _no_end() -> AsyncIterator[bytes]:
    """Never send a complete request and never end the stream."""
    await asyncio.Event().wait()
    yield b""


async def _refusals(
    address: str, requests: Callable[[], AsyncIterator[bytes]]
) -> list[RefusedCall]:
    """Return the status of each method for such a stream."""
    refused = []
    async with grpc.aio.insecure_channel(address) as channel:
        for method in METHODS:
            call: Any = channel.stream_unary(f"/autos.downloads.v1.DownloadService/{method}")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(requests(), timeout=30)
            refused.append(refusal_of(caught.value))
    return refused


class _Noted(ThreadPoolExecutor):
    """An executor that records the work submitted to it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.given: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Record the work, then submit it."""
        self.given.append(super().submit(fn, *args, **kwargs))
        return self.given[-1]


class _NotedStart(PendingStart):
    """A start that is recorded."""

    all: ClassVar[list[PendingStart]] = []

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.all.append(self)


def test_work_for_a_call_whose_deadline_has_passed_is_not_begun(
    parts: ServerDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rpc.starts.start_batcher.PendingStart", _NotedStart)

    async def scenario(pool: _Noted) -> None:
        async with (
            running_server(replace(parts, pool=pool)) as server,
            api_of(server.address) as api,
        ):
            held = threading.Event()
            busy = pool.submit(held.wait, 60)
            start = pb.StartDownloadRequest(process_number="1003579-22.2025.8.26.0564")
            try:
                # Try again, in case the machine was too slow to bring all calls that far.
                while not _NotedStart.all or len(pool.given) < 3:
                    calls = (
                        api.StartDownload(start, timeout=1),
                        api.ListJobs(pb.ListJobsRequest(), timeout=1),
                    )
                    for call in calls:
                        with pytest.raises(grpc.aio.AioRpcError) as caught:
                            await call
                        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
                async with asyncio.timeout(60):
                    # One piece of work serves all starts together; it begins for those that still
                    # wait.
                    while sum(not future.cancelled() for future in pool.given[1:]) > 1:
                        await asyncio.sleep(0.01)
                    while not all(each.is_gone for each in _NotedStart.all):
                        await asyncio.sleep(0.01)
            finally:
                held.set()
            await asyncio.wrap_future(busy)
            assert not (await api.ListJobs(pb.ListJobsRequest())).jobs

    with _Noted() as pool:
        asyncio.run(scenario(pool))
