"""Test which calls wait for places that are not published yet, and how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from server.queue.queue_position_cache import (
    BUSY_CALLS,
    BUSY_S,
    FRESH_S,
    VAIN_S,
    VAIN_WAITS,
    WAIT_S,
    QueuePositionCache,
)
from server.queue.queue_view import NOWHERE, QueueStatus
from storage.postgres.database import Database
from storage.scheduling.published_positions import PublishedPlace, publish, publish_idle
from tests.integration.harness.grpc_server import queue_view

COURT = "8.26"


class _Clock:
    """A clock that moves by `step_s` at each reading."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.step_s = 0.001

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


class _Reads:
    """Runs calls on a thread, and counts them."""

    def __init__(self) -> None:
        self.count = 0
        self._pool = ThreadPoolExecutor(2)

    async def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


class _World:
    """The places of a server, with a clock of their own."""

    def __init__(self, database: Database, client: redis.Redis) -> None:
        self.clock = _Clock()
        self.reads = _Reads()
        self.places = QueuePositionCache(queue_view(database, client), self.reads, clock=self.clock)

    async def reads_of(self, *job_ids: UUID) -> int:
        """Return the number of readings for one call: more than one if it waits."""
        before = self.reads.count
        await self.places.now(_courts(*job_ids))
        return self.reads.count - before


def _courts(*job_ids: UUID) -> Mapping[UUID, str]:
    return dict.fromkeys(job_ids, COURT)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield the test's Valkey client."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def world(database: Database, client: redis.Redis) -> Iterator[_World]:
    """Return a server's places."""
    world = _World(database, client)
    yield world
    world.reads.close()


def test_a_call_waits_for_a_place_until_it_is_published(world: _World, client: redis.Redis) -> None:
    job_id = uuid4()
    world.clock.step_s = 0.0

    async def scenario() -> dict[UUID, QueueStatus]:
        waiting = asyncio.create_task(world.places.now(_courts(job_id)))
        while world.reads.count < 3:
            await asyncio.sleep(0)
        publish(client, {job_id: PublishedPlace(7, None)})
        return await waiting

    assert asyncio.run(scenario()) == {job_id: QueueStatus(7, is_published=True)}


def test_a_call_waits_a_short_time_only(world: _World) -> None:
    job_id = uuid4()
    begun = world.clock.now

    assert asyncio.run(world.places.now(_courts(job_id))) == {job_id: NOWHERE}

    assert WAIT_S <= world.clock.now - begun < 2 * WAIT_S


def test_while_many_places_are_unknown_no_call_waits(world: _World) -> None:
    async def scenario() -> tuple[int, int]:
        world.places.note_unknown(BUSY_CALLS)
        busy = await world.reads_of(uuid4())
        world.clock.now += BUSY_S
        return busy, await world.reads_of(uuid4())

    busy, idle = asyncio.run(scenario())

    assert busy == 1
    assert idle > 1


def test_after_some_waits_in_vain_no_call_waits_for_a_while(world: _World) -> None:
    async def scenario() -> list[bool]:
        waits = [await world.reads_of(uuid4()) > 1 for _ in range(VAIN_WAITS + 1)]
        world.clock.now += VAIN_S
        return [*waits, await world.reads_of(uuid4()) > 1]

    assert asyncio.run(scenario()) == [*[True] * VAIN_WAITS, False, True]


@pytest.mark.parametrize(("is_idle", "waits"), [(False, True), (True, False), (None, True)])
def test_a_new_watcher_waits_for_its_place_unless_new_jobs_are_served_at_once(
    world: _World, client: redis.Redis, is_idle: bool | None, waits: bool
) -> None:
    if is_idle is not None:
        publish_idle(client, is_idle=is_idle)

    asyncio.run(world.places.open(uuid4(), COURT))

    # The first reading shows whether the scheduler is idle.
    assert (world.reads.count > 1) is waits


def test_a_new_watcher_of_a_served_job_gets_its_published_end(
    world: _World, client: redis.Redis
) -> None:
    job_id = uuid4()
    publish_idle(client, is_idle=True)
    publish(client, {job_id: PublishedPlace(None, 3_600.0)})

    asyncio.run(world.places.open(job_id, COURT))

    assert world.places.of(job_id).estimated_end_time == datetime.fromtimestamp(3_600, UTC)


def test_a_watched_place_is_read_once_a_second(world: _World, client: redis.Redis) -> None:
    job_id = uuid4()
    publish(client, {job_id: PublishedPlace(2, None)})

    async def scenario() -> list[int | None]:
        seen = []
        await world.places.open(job_id, COURT)
        for position in (1, None):
            publish(client, {job_id: PublishedPlace(position, None)})
            await world.places.fresh(_courts(job_id))
            seen.append(world.places.of(job_id).queue_position)
            world.clock.now += FRESH_S
        return seen

    assert asyncio.run(scenario()) == [2, None]


def test_a_place_that_stays_the_same_is_the_same_object(world: _World, client: redis.Redis) -> None:
    job_id = uuid4()
    publish(client, {job_id: PublishedPlace(2, 3.0)})

    async def scenario() -> tuple[QueueStatus, QueueStatus]:
        await world.places.open(job_id, COURT)
        before = world.places.of(job_id)
        world.clock.now += FRESH_S
        await world.places.fresh(_courts(job_id))
        return before, world.places.of(job_id)

    before, after = asyncio.run(scenario())

    assert before is after
    world.places.forget([job_id])
    assert world.places.of(job_id) is NOWHERE
