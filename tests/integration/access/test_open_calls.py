"""Test the limits of unary calls: at once by client, a minute, unread answers, and GetUsage."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from storage.clients.client_registry import ClientLimits
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import (
    WIDE,
    ServerFixture,
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.network.http2 import Caller
from tests.system.refused_calls import RefusedCall, refusal_of

SERVICE = "/autos.downloads.v1.DownloadService"
DEADLINE_S = 60.0
BUSY = "TOO_MANY_CALLS"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


async def _refusal(call: Any) -> tuple[RefusedCall, error_details_pb2.QuotaFailure.Violation]:
    """Return the refusal and the violation in its QuotaFailure."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    failure = error_details_pb2.QuotaFailure()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(failure)
    [violation] = failure.violations
    return refusal_of(caught.value), violation


async def _until_refused(method: Any, request: Any) -> None:
    """Return when a call is refused because too many are under way."""
    answer: object = None
    async with asyncio.timeout(DEADLINE_S):
        while not isinstance(answer, grpc.aio.AioRpcError):
            [answer] = await asyncio.gather(method(request), return_exceptions=True)
            await asyncio.sleep(0.01)
    assert refusal_of(answer).reason == BUSY


async def _until_open(server: ServerFixture, client: str, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while server.service.calls.count(client) != count:
            await asyncio.sleep(0.01)


def test_a_client_with_too_many_calls_at_once_is_refused_and_others_are_served(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    limits = {"calls_at_once": 2}
    clients = entry("busy", "a", limits=limits), entry("calm", "b", limits=limits)
    file = write_clients(tmp_path / "clients.json", *clients)
    request = pb.ListJobsRequest()

    async def scenario(pool: ThreadPoolExecutor) -> None:
        held = threading.Event()
        async with (
            running_server(replace(parts, pool=pool), file) as server,
            api_of(server.address, "a") as busy,
            api_of(server.address, "b") as calm,
        ):
            pool.submit(held.wait, DEADLINE_S)
            try:
                calls = [busy.ListJobs(request) for _ in range(2)]
                await _until_open(server, "busy", 2)
                refused, violation = await _refusal(busy.ListJobs(request))
                calls.append(calm.ListJobs(request))
                await _until_open(server, "calm", 1)
            finally:
                held.set()
            await asyncio.gather(*calls)
            # Each call that has ended makes room.
            await busy.ListJobs(request)
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.reason == BUSY
        assert (refused.retry_after_s or 0) >= 1
        assert violation.subject == "client:busy"
        assert (violation.quota_id, violation.quota_value) == ("calls_at_once", 2)

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(scenario(pool))


@pytest.mark.parametrize("method", ["ListDocuments", "WaitJob"])
def test_answers_that_are_not_read_count_as_calls_and_end(
    parts: ServerDependencies, database: Database, method: str
) -> None:
    number = 4
    job_id = factories.listed_job(database, 2)
    wait = pb.WaitJobRequest(job_id=str(job_id), timeout={"seconds": 1})
    listing = pb.ListDocumentsRequest(job_id=str(job_id))
    raw = (wait if method == "WaitJob" else listing).SerializeToString()

    async def scenario() -> None:
        limits = replace(WIDE, calls_at_once=number)
        async with (
            running_server(replace(parts, stall_s=DEADLINE_S), limits=limits) as server,
            api_of(server.address) as api,
        ):
            host, _, port = server.address.partition(":")
            with closing(Caller(host, int(port), window=10)) as caller:
                caller.open(f"{SERVICE}/{method}", *[raw] * number)
                await _until_refused(api.WaitJob, wait)
                assert (await _refusal(api.ListJobs(pb.ListJobsRequest())))[0].reason == BUSY
                server.service.calls.unread_s = 0.5
                await _all_end(api, caller, number)
                await _until_open(server, "default", 0)

    asyncio.run(scenario())


def _ends(caller: Caller, number: int) -> int:
    """Read until so many calls have ended; return how many."""
    ended: set[int] = set()
    caller.socket.settimeout(DEADLINE_S)
    while len(ended) < number:
        events = caller.read()
        assert all(event.stream for event in events), "The server hung up."
        assert not any(event.message for event in events), "An answer was sent."
        ended |= {event.stream for event in events}
    return len(ended)


async def _all_end(api: Any, caller: Caller, number: int) -> None:
    """Return when the server has ended the unread calls of `caller`."""
    reading = asyncio.create_task(asyncio.to_thread(_ends, caller, number))
    while not reading.done():
        # grpc.aio releases a call when the next one has come.
        with pytest.raises(grpc.aio.AioRpcError):
            await api.GetStatus(pb.GetStatusRequest(job_id="none"))
        await asyncio.sleep(0.1)
    assert await reading == number


def test_the_answer_of_a_case_that_is_not_read_counts_as_a_call_and_ends(
    parts: ServerDependencies, database: Database
) -> None:
    number, case = 3, "1003579-22.2025.8.26.0564"
    factories.execute(
        database,
        "INSERT INTO case_answers"
        " (client, process_number, sha256, size_bytes, is_sealed, data, content)"
        " VALUES ('default', %(case)s, repeat('0', 64), 1000, false, '{}', %(content)s)",
        case=case,
        content=zlib.compress(bytes(3_000_000)),
    )
    raw = pb.GetCaseListingRequest(process_number=case).SerializeToString()

    async def scenario() -> None:
        limits = replace(WIDE, calls_at_once=number)
        async with (
            running_server(replace(parts, stall_s=DEADLINE_S), limits=limits) as server,
            api_of(server.address) as api,
        ):
            host, _, port = server.address.partition(":")
            with closing(Caller(host, int(port), window=10)) as caller:
                caller.open(f"{SERVICE}/GetCaseListing", *[raw] * number)
                await _until_open(server, "default", number)
                assert (await _refusal(api.ListJobs(pb.ListJobsRequest())))[0].reason == BUSY
                server.service.calls.unread_s = 0.5
                await _all_end(api, caller, number)
                await _until_open(server, "default", 0)

    asyncio.run(scenario())


def test_retries_and_redeliveries_count_together_by_the_minute(
    parts: ServerDependencies, database: Database, tmp_path: Path
) -> None:
    limits = {"repeats_per_minute": 2}
    file = write_clients(
        tmp_path / "clients.json", *(entry(name, name, limits=limits) for name in ("a", "b"))
    )
    job_id = factories.start(database, factories.request(client="a"))[0].job.job_id
    job_queries.cancel(database, "a", job_id)
    retry = pb.RetryJobRequest(job_id=str(job_id))
    redelivery = pb.RedeliverWebhookRequest(job_id=str(job_id))

    async def scenario() -> None:
        async with (
            running_server(parts, file) as server,
            api_of(server.address, "a") as one,
            api_of(server.address, "b") as other,
        ):
            # What changes nothing costs a reading all the same.
            assert await _reason(one.RetryJob(retry)) == "NOTHING_TO_RETRY"
            assert await _reason(one.RedeliverWebhook(redelivery)) == "NO_WEBHOOK"
            for call in (one.RetryJob(retry), one.RedeliverWebhook(redelivery)):
                refused, violation = await _refusal(call)
                assert refused.reason == BUSY
                assert 0 < (refused.retry_after_s or 0) <= 30 * 1.25
                assert (violation.quota_id, violation.quota_value) == ("repeats_per_minute", 2)
            assert await _reason(other.RetryJob(retry)) == "JOB_NOT_FOUND"
            # Starts have a limit of their own.
            start = pb.StartDownloadRequest(process_number="1003579-22.2025.8.26.0564")
            assert (await one.StartDownload(start)).created

    asyncio.run(scenario())


async def _reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value).reason


def test_a_list_with_more_values_than_are_useful_is_refused(parts: ServerDependencies) -> None:
    request = pb.ListJobsRequest(states=[pb.JOB_STATE_FAILED] * 8)

    async def scenario() -> dict[str, str]:
        async with running_server(parts) as server, api_of(server.address) as api:
            del request.states[7:]
            await api.ListJobs(request)
            request.states.append(pb.JOB_STATE_FAILED)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await api.ListJobs(request)
            return refusal_of(caught.value).fields

    assert asyncio.run(scenario()) == {"states": "must have at most 7 values."}


def _stored_job(database: Database, client: str) -> UUID:
    """Return an ended job of a client whose only document is stored."""
    job_id = factories.listed_job(database, 1, factories.request(client=client))
    factories.store_next(database, job_id)
    return job_id


def test_usage_has_the_limits_and_the_numbers_of_the_caller_alone(
    parts: ServerDependencies, database: Database, tmp_path: Path
) -> None:
    limits = dict(zip(ClientLimits.__dataclass_fields__, range(11, 18), strict=True))
    file = write_clients(
        tmp_path / "clients.json", entry("one", "a", limits=limits), entry("other", "b")
    )
    first, second = (_stored_job(database, "one") for _ in range(2))
    _stored_job(database, "other")
    # An object that a second job of the client uses counts once.
    shared = "UPDATE documents SET object_key = %(key)s WHERE job_id = %(job_id)s"
    [document] = factories.documents(database, first)
    factories.execute(database, shared, key=document["object_key"], job_id=second)
    factories.start(database, factories.request(client="one"))
    factories.start(database, factories.request(client="other"))
    # Jobs that wait for their time are counted apart.
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for _ in range(2):
        factories.start(
            database,
            factories.request(client="one", not_before_time=tomorrow, waiting_jobs=16),
        )

    async def scenario() -> pb.GetUsageResponse:
        async with running_server(parts, file) as server, api_of(server.address, "a") as api:
            usage: pb.GetUsageResponse = await api.GetUsage(pb.GetUsageRequest())
            return usage

    assert asyncio.run(scenario()) == pb.GetUsageResponse(
        client="one",
        starts_per_minute_limit=11,
        running_jobs=1,
        running_jobs_limit=12,
        waiting_jobs=2,
        waiting_jobs_limit=16,
        stored_bytes=document["size_bytes"],
        stored_documents=1,
        open_calls=1,
        open_calls_limit=14,
        open_watches_limit=13,
        repeats_per_minute_limit=15,
        subscriptions_limit=17,
        webhooks_per_job_limit=10,
    )
