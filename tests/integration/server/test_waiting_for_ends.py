"""Test WaitJob: it answers at the job's end or its deadline, and holds nothing meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import grpc
import grpc.aio
import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from server.errors import ShuttingDown
from server.queue.queue_position_cache import QueuePositionCache
from server.watch.feed import Feed
from server.watch.watcher import EndWaiter
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import (
    THREADS,
    WIDE,
    ServerFixture,
    api_of,
    running_server,
    service_parts,
)
from tests.system.invalid_values import seconds
from tests.system.refused_calls import refusal_of

NUMBER = "1003579-22.2025.8.26.0564"
# More than the server has threads and connections.
WAITING = 5 * THREADS


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


def _wait(job_id: UUID, timeout_s: int) -> pb.WaitJobRequest:
    return pb.WaitJobRequest(job_id=str(job_id), timeout=seconds(timeout_s))


async def _until_waited(server: ServerFixture, calls: int) -> None:
    async with asyncio.timeout(60):
        while server.service.open_watches.count("default") < calls:
            await asyncio.sleep(0.01)


def test_many_wait_without_a_thread_and_are_answered_at_the_end(
    parts: ServerDependencies, database: Database
) -> None:
    job_id = factories.listed_job(database, 1)

    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            waits = [api.WaitJob(_wait(job_id, 60)) for _ in range(WAITING)]
            await _until_waited(server, WAITING)
            # Other calls still find a thread and a connection.
            running = await api.GetStatus(pb.GetStatusRequest(job_id=str(job_id)))
            assert running.job.state == pb.JOB_STATE_PROCESSING
            assert not any(wait.done() for wait in waits)

            await api.CancelJob(pb.CancelJobRequest(job_id=str(job_id)))

            answers = await asyncio.gather(*waits)
            ended = await api.GetStatus(pb.GetStatusRequest(job_id=str(job_id)))
            assert {answer.job.state for answer in answers} == {pb.JOB_STATE_CANCELLED}
            assert all(answer.job == ended.job for answer in answers)
            assert (await api.WaitJob(_wait(job_id, 60))).job == ended.job
            assert server.service.open_watches.count("default") == 0

    asyncio.run(scenario())


def test_a_job_that_goes_on_is_returned_as_it_is_when_the_time_is_over(
    parts: ServerDependencies, database: Database
) -> None:
    factories.listed_job(database, 1, factories.request(NUMBER))

    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            for timeout in (seconds(1), seconds(-5), seconds()):
                begun = time.monotonic()
                wanted = pb.WaitJobRequest(process_number=NUMBER, timeout=timeout)
                answer = await api.WaitJob(wanted)
                assert answer.job.state == pb.JOB_STATE_PROCESSING
                assert time.monotonic() - begun >= 0.9

    asyncio.run(scenario())


def test_a_wait_counts_as_a_watch(parts: ServerDependencies, database: Database) -> None:
    job_id = factories.listed_job(database, 1)
    one = replace(WIDE, open_watches=1)

    async def scenario() -> None:
        async with running_server(parts, limits=one) as server, api_of(server.address) as api:
            first = api.WaitJob(_wait(job_id, 60))
            await _until_waited(server, 1)
            assert await _reason(api.WaitJob(_wait(job_id, 60))) == "TOO_MANY_WATCHES"
            first.cancel()
            async with asyncio.timeout(60):
                while server.service.open_watches.count("default"):
                    await asyncio.sleep(0.01)
            assert (await api.WaitJob(_wait(job_id, 1))).job.job_id == str(job_id)

    asyncio.run(scenario())


def test_a_stopping_server_ends_waiting_calls(
    parts: ServerDependencies, database: Database
) -> None:
    job_id = factories.listed_job(database, 1)

    async def scenario() -> None:
        async with running_server(parts) as server, api_of(server.address) as api:
            wait = api.WaitJob(_wait(job_id, 60))
            await _until_waited(server, 1)
            stopping = asyncio.create_task(server.service.hub.close())
            assert await _reason(wait) == "UNAVAILABLE"
            await stopping

    asyncio.run(scenario())


def test_one_that_waits_at_a_feed_is_sent_away_at_once() -> None:
    job = pb.Job(job_id=str(UUID(int=1)), process_number=NUMBER, state=pb.JOB_STATE_PROCESSING)

    async def scenario() -> None:
        # Only streams read the places.
        feed, waiter = Feed(job, cast(QueuePositionCache, None)), EndWaiter(job, 60)
        feed.watchers.add(waiter)
        waiting = asyncio.create_task(waiter.follow(feed))
        await asyncio.sleep(0)
        feed.wake()
        await asyncio.sleep(0)
        assert not waiting.done()

        waiter.send_away(ShuttingDown(callers=1))

        with pytest.raises(ShuttingDown):
            await asyncio.wait_for(waiting, 60)

    asyncio.run(scenario())


async def _reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return str(refusal_of(caught.value).reason)
