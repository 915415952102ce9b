"""Test many watchers of one process: none is missed, served twice, or blocked by another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EMBEDDED, EmbeddedServers, start_all
from dev.folder import DataFolder
from server.dependencies import ServerDependencies
from server.runtime import stream_scheduler
from storage.jobs.change_notifications import ChangePublisher
from storage.objects.object_store import Objects
from storage.postgres.database import Database, Transaction
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import api_of, running_server, service_parts
from tests.network.http2 import Caller, Event
from tests.system.stream_checks import assert_stream_order

WATCH = "/autos.downloads.v1.DownloadService/WatchProgress"
JOBS, DOCUMENTS, CHANNELS, WATCHERS = 4, 3, 2, 400
DEADLINE_S = 60.0


class Counted(Database):
    """A database that counts its readings, and holds them while its gate is shut."""

    def __init__(self, url: str, on_change: Callable[[UUID, int], None] | None = None) -> None:
        super().__init__(url, max_connections=8, on_change=on_change)
        self.readings = 0
        self.gate = threading.Event()

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Count a reading."""
        self.readings += 1
        assert self.gate.wait(DEADLINE_S)
        with super().snapshot() as transaction:
            yield transaction


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


@pytest.fixture
def announcing(database_url: str, redis_url: str) -> Iterator[Database]:
    """Return the test's database with its changes announced as in production."""
    with closing(Database(database_url, max_connections=2, on_change=_wakeups(redis_url))) as found:
        yield found


def _wakeups(redis_url: str) -> Callable[[UUID, int], None]:
    return ChangePublisher(redis_url).announce


def _request(job_id: UUID, **more: Any) -> bytes:
    raw: bytes = pb.WatchProgressRequest(job_id=str(job_id), **more).SerializeToString()
    return raw


def _read(caller: Caller, is_enough: Callable[[Event], bool]) -> list[Event]:
    """Read until an event satisfies `is_enough`; return all events."""
    events: list[Event] = []
    caller.socket.settimeout(DEADLINE_S)
    while not any(map(is_enough, events)):
        fresh = caller.read()
        assert all(event.stream for event in fresh), "The server hung up."
        events += fresh
    return events


def _message(event: Event) -> pb.WatchProgressResponse:
    assert event.message is not None, event.trailers
    return pb.WatchProgressResponse.FromString(event.message)


class Crowd:
    """WATCHERS streams on a few connections, and their messages. Runs on its own thread."""

    def __init__(self, address: str, ids: list[UUID]) -> None:
        host, _, port = address.partition(":")
        self.callers = [Caller(host, int(port)) for _ in range(CHANNELS)]
        self.received: dict[tuple[Caller, int], list[pb.WatchProgressResponse]] = {}
        self._ids = ids

    def open(self) -> None:
        """Open all streams in one burst; return when each has all current messages."""
        requests = [_request(self._ids[i % JOBS]) for i in range(WATCHERS // CHANNELS)]
        for caller in self.callers:
            caller.open(WATCH, *requests)
        self._read_until(lambda received: len(received) == 1 + DOCUMENTS + 1)

    def await_revisions(self, revisions: dict[UUID, int]) -> None:
        """Return when each stream has its job at this revision."""

        def is_current(received: list[pb.WatchProgressResponse]) -> bool:
            return received[-1].revision == revisions[UUID(received[0].job.job_id)]

        self._read_until(is_current)

    def close(self) -> None:
        """Close the connections."""
        for caller in self.callers:
            caller.close()

    def _read_until(self, is_current: Callable[[list[pb.WatchProgressResponse]], bool]) -> None:
        for caller in self.callers:
            caller.socket.settimeout(DEADLINE_S)
            while len(self._of(caller, is_current)) < WATCHERS // CHANNELS:
                for event in caller.read():
                    self.received.setdefault((caller, event.stream), []).append(_message(event))

    def _of(
        self, caller: Caller, is_current: Callable[[list[pb.WatchProgressResponse]], bool]
    ) -> list[int]:
        return [
            i
            for (of, i), received in self.received.items()
            if of is caller and is_current(received)
        ]


def test_a_burst_of_watchers_is_served_whole_with_reads_for_jobs_and_not_for_each_of_them(
    database_url: str, announcing: Database, parts: ServerDependencies
) -> None:
    ids = [factories.listed_job(announcing, DOCUMENTS) for _ in range(JOBS)]

    def changed() -> dict[UUID, int]:
        for job_id in ids:
            factories.claimed(announcing, job_id, spool_id=factories.living_spool(announcing))
        return {job_id: int(factories.job(announcing, job_id)["revision"]) for job_id in ids}

    async def scenario() -> None:
        with closing(Counted(database_url)) as counted:
            async with running_server(replace(parts, database=counted)) as server:
                crowd = Crowd(server.address, ids)
                begun = time.monotonic()
                burst = asyncio.create_task(asyncio.to_thread(crowd.open))
                # No reading starts before all of them have arrived.
                while server.service.open_watches.count("default") < WATCHERS:
                    await asyncio.sleep(0.01)
                counted.gate.set()
                await burst
                opening = counted.readings
                revisions = await asyncio.to_thread(changed)
                await asyncio.to_thread(crowd.await_revisions, revisions)
                following = counted.readings - opening
                polls = int(time.monotonic() - begun)
                crowd.close()
        print(f"{WATCHERS} watchers: {opening} readings to open, {following} to follow")
        assert len(crowd.received) == WATCHERS
        for received in crowd.received.values():
            assert_stream_order(received)
        # Each reading serves all streams that wait for it. The rest are polls, one a second.
        assert opening < 5 * JOBS + 3 * polls
        assert following < 8 * JOBS + 3 * polls

    asyncio.run(scenario())


def test_new_streams_get_messages_before_open_streams_get_all(
    announcing: Database, parts: ServerDependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is: all calls that were sent together come within this time, and no
    # stream that writes is found to be slow.
    monkeypatch.setattr(stream_scheduler, "CALLS_S", DEADLINE_S)
    monkeypatch.setattr(stream_scheduler, "SLOW_S", DEADLINE_S)
    documents, watches = 100, 300
    job_id = factories.listed_job(announcing, documents)

    def messages_until_all_have_begun(address: str) -> int:
        """Return how many messages had arrived when the last stream had its first one."""
        host, _, port = address.partition(":")
        begun: set[int] = set()
        messages = 0
        with closing(Caller(host, int(port))) as caller:
            caller.open(WATCH, *[_request(job_id)] * watches)
            while len(begun) < watches:
                events = _read(caller, lambda _: True)
                assert all(event.message for event in events), "A stream was ended."
                messages += len(events)
                begun.update(event.stream for event in events)
        return messages

    async def scenario() -> int:
        async with running_server(parts) as server:
            return await asyncio.to_thread(messages_until_all_have_begun, server.address)

    received = asyncio.run(scenario())

    print(f"{received} of {watches * (documents + 2)} messages before the last stream got one")
    # gRPC accepts one call in an iteration of the loop: streams that write all they have would have
    # sent nearly all of it by then.
    assert received < watches * (documents + 2) * 3 / 4


def test_every_call_that_comes_makes_streams_wait_for_a_moment(
    announcing: Database, parts: ServerDependencies
) -> None:
    job_id = factories.listed_job(announcing, DOCUMENTS)

    async def scenario() -> None:
        async with running_server(parts) as server:
            assert server.service.turns._calls_until < 0
            async with api_of(server.address) as api:
                await api.GetStatus(pb.GetStatusRequest(job_id=str(job_id)))
            assert server.service.turns._calls_until > 0

    asyncio.run(scenario())


def test_a_reader_that_stops_reading_costs_one_slot_for_a_while(
    announcing: Database, parts: ServerDependencies
) -> None:
    number = 20
    job_id = factories.listed_job(announcing, 2 * DOCUMENTS)
    known = int(factories.job(announcing, job_id)["revision"])

    def stop_reading(address: str) -> float:
        """Return the seconds until their streams were ended."""
        host, _, port = address.partition(":")
        # The window takes the first few messages and is never opened again.
        caller = Caller(host, int(port), window=1_000)
        begun = time.monotonic()
        stalled = {caller.open(WATCH, _request(job_id)) for _ in range(number)}
        reading = stalled.copy()

        def is_last_end(event: Event) -> bool:
            if event.message is None:
                reading.discard(event.stream)
            return not reading

        events = _read(caller, is_last_end)
        took_s = time.monotonic() - begun
        assert {event.stream for event in events if event.message} == stalled, "Some did not begin."
        # The connection lives: a stream with fewer messages is served.
        modest = caller.open(WATCH, _request(job_id, after_revision=known))
        _read(caller, lambda event: event.stream == modest and event.message is not None)
        caller.close()
        return took_s

    async def scenario() -> None:
        async with (
            running_server(replace(parts, stall_s=1.0)) as server,
            api_of(server.address) as api,
        ):
            request = pb.WatchProgressRequest(job_id=str(job_id))
            watch = api.WatchProgress(request)
            assert (await watch.read()).HasField("job")
            with capture_logs() as logs:
                stopping = asyncio.create_task(asyncio.to_thread(stop_reading, server.address))
                while not stopping.done():
                    # grpc.aio releases a call when the next one has come.
                    await api.GetStatus(pb.GetStatusRequest(job_id=str(job_id)))
                    await asyncio.sleep(0.1)
            assert 1.0 <= await stopping < DEADLINE_S
            assert len([entry for entry in logs if "cut off" in entry["event"]]) == number
            async with asyncio.timeout(DEADLINE_S):
                while server.service.open_watches.count("default") > 1:
                    await asyncio.sleep(0.01)
            # Other watchers of the job go on.
            factories.claimed(announcing, job_id, spool_id=factories.living_spool(announcing))
            revision = int(factories.job(announcing, job_id)["revision"])
            async with asyncio.timeout(DEADLINE_S):
                while (await watch.read()).revision < revision:
                    pass

    asyncio.run(scenario())


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Yield a Valkey that a test may stop."""
    folder = DataFolder(tmp_path / "valkey")
    with closing(folder):
        servers = start_all(folder, {}, print, {"valkey": EMBEDDED["valkey"]})
        yield servers
        servers.stop()


def test_without_valkey_watches_go_on_at_most_two_seconds_late(
    database_url: str, objects: Objects, own_valkey: EmbeddedServers, database: Database
) -> None:
    redis_url = own_valkey.env["REDIS_URL"]
    job_id = factories.listed_job(database, 30)

    async def seen_after_s(watch: Any, announcing: Database) -> float:
        await asyncio.to_thread(factories.claimed, announcing, job_id, lanes=100)
        changed = time.monotonic()
        revision = int(factories.job(database, job_id)["revision"])
        async with asyncio.timeout(DEADLINE_S):
            while (await watch.read()).revision < revision:
                pass
        return time.monotonic() - changed

    async def scenario() -> None:
        with (
            service_parts(database, objects, redis_url) as parts,
            closing(
                Database(database_url, max_connections=2, on_change=_wakeups(redis_url))
            ) as announcing,
        ):
            async with running_server(parts) as server, api_of(server.address) as api:
                watch = api.WatchProgress(pb.WatchProgressRequest(job_id=str(job_id)))
                with_it = [await seen_after_s(watch, announcing) for _ in range(3)]
                await asyncio.to_thread(own_valkey.supervisor.hold, "valkey")
                without = [await seen_after_s(watch, announcing) for _ in range(3)]
                await asyncio.to_thread(own_valkey.supervisor.release, "valkey")
                await asyncio.to_thread(own_valkey.await_ready)
                async with asyncio.timeout(DEADLINE_S):
                    # Sooner than a poll could be: a notification woke it.
                    while await seen_after_s(watch, announcing) > 0.2:
                        pass
                watch.cancel()
        print(f"with {with_it}, without {without}")
        # Not all: a busy machine may delay some.
        assert min(without) < 2.0
        assert min(with_it) < 0.5

    asyncio.run(scenario())
