"""Test the places of unknown callers: connections, calls of open services, and unread requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from server.access.accepted_sockets import AcceptedSockets
from server.access.connection_guard import ConnectionGuard, UnknownLimits
from server.access.unknown_callers import UnknownCallLimits
from server.dependencies import ServerDependencies
from server.rpc.error_interceptor import read_request
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from tests.integration.harness.grpc_server import (
    OWN_CONNECTION,
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.network.silent_connections import silent_connection
from tests.system.refused_calls import refusal_of

TOKEN = "a"
SILENT = 40
FEW = UnknownLimits(most=20, most_of_address=5, age_s=30)
CHECK = "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a clients file with one client."""
    return write_clients(tmp_path / "clients.json", entry("ours", TOKEN))


def port_of(address: str) -> int:
    """Return the port of host:port."""
    return int(address.rpartition(":")[2])


async def until_open(sockets: AcceptedSockets, number: int) -> None:
    """Return when the server has this number of connections."""
    async with asyncio.timeout(60):
        while len(sockets.look()) != number:
            await asyncio.sleep(0.01)


def test_silent_connections_leave_places_for_known_clients(
    parts: ServerDependencies, file: Path
) -> None:
    now = [0.0]
    guard = ConnectionGuard(FEW, clock=lambda: now[0])

    async def scenario() -> None:
        async with (
            running_server(parts, file, connections=guard) as server,
            api_of(server.address, TOKEN) as early,
            api_of(server.address, TOKEN) as late,
        ):
            sockets = AcceptedSockets(port_of(server.address))
            await early.ListJobs(pb.ListJobsRequest())
            with ExitStack() as stack:
                # Given more silent connections than all unknown callers may have
                address = ("127.0.0.1", port_of(server.address))
                for _ in range(SILENT):
                    stack.enter_context(silent_connection(address))
                await until_open(sockets, SILENT + 1)
                await guard.look(sockets)
                # Then their address keeps few, beside the known one
                await until_open(sockets, FEW.most_of_address + 1)
                await late.ListJobs(pb.ListJobsRequest())
                assert len(sockets.look()) == FEW.most_of_address + 2

                # When their time has passed, none of them is left
                now[0] += FEW.age_s + 1
                await guard.look(sockets)
                await until_open(sockets, 2)
            await early.ListJobs(pb.ListJobsRequest())
            await guard.look(sockets)
            assert len(sockets.look()) == 2

    asyncio.run(scenario())


def test_neither_a_refused_call_nor_an_open_service_makes_a_connection_known(
    parts: ServerDependencies, file: Path
) -> None:
    now = [0.0]
    guard = ConnectionGuard(FEW, clock=lambda: now[0])

    async def scenario() -> None:
        async with (
            running_server(parts, file, connections=guard) as server,
            api_of(server.address, "wrong") as stranger,
            grpc.aio.insecure_channel(server.address, options=OWN_CONNECTION) as channel,
        ):
            sockets = AcceptedSockets(port_of(server.address))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stranger.ListJobs(pb.ListJobsRequest())
            assert refusal_of(caught.value).reason == "UNKNOWN_TOKEN"
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            await guard.look(sockets)
            assert len(sockets.look()) == 2

            now[0] += FEW.age_s + 1
            await guard.look(sockets)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch.read()
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            await until_open(sockets, 0)

    asyncio.run(scenario())


def _half_call(channel: grpc.aio.Channel, method: str, timeout_s: float = 60) -> Any:
    """Begin a call that sends no message and never ends its side."""

    async def requests() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    call: Any = channel.stream_stream(method)
    return call(requests(), timeout=timeout_s)


@pytest.mark.parametrize("method", [CHECK, REFLECT])
def test_open_calls_of_unknown_callers_are_few_and_a_known_one_has_its_own(
    parts: ServerDependencies, file: Path, method: str
) -> None:
    limits = UnknownCallLimits(most=4, of_address=3, of_connection=1)

    async def scenario() -> None:
        async with (
            running_server(parts, file, calls=limits, reflection=True) as server,
            grpc.aio.insecure_channel(server.address) as unknown,
            grpc.aio.insecure_channel(server.address, options=OWN_CONNECTION) as known,
        ):
            open_calls = await _filled(unknown, method, 3, [])
            # A call that ends makes room.
            open_calls.pop().cancel()
            await _filled(unknown, method, 3, open_calls)
            # The places of unknown callers are none of a known connection's.
            metadata = [("authorization", f"Bearer {TOKEN}")]
            await pb_grpc.DownloadServiceStub(known).ListJobs(
                pb.ListJobsRequest(), metadata=metadata, timeout=60
            )
            await _filled(known, method, 1, [])

    asyncio.run(scenario())


async def _filled(
    channel: grpc.aio.Channel, method: str, places: int, calls: list[Any]
) -> list[Any]:
    """Open calls until there are `places`, and one more is refused. Return those that are open."""
    async with asyncio.timeout(60):
        while True:
            calls = [call for call in calls if not call.done()]
            calls += [_half_call(channel, method) for _ in range(places - len(calls))]
            # It may come before one of the others and take its place.
            further = await _half_call(channel, method, timeout_s=0.5).code()
            if further == grpc.StatusCode.RESOURCE_EXHAUSTED and not any(c.done() for c in calls):
                return calls


def test_a_request_that_does_not_arrive_ends_its_call(parts: ServerDependencies) -> None:
    async def scenario() -> None:
        async with (
            running_server(parts, read=partial(read_request, limit_s=0.1)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            for method in ("ListJobs", "WatchProgress"):
                path = f"/autos.downloads.v1.DownloadService/{method}"
                call = _half_call(channel, path)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert refusal_of(caught.value).reason == "MALFORMED_REQUEST"
                assert "did not arrive" in (caught.value.details() or "")
            assert await _half_call(channel, CHECK).code() == grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(scenario())
