"""Test the client while connections break, stall or lose answers, and servers are killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from autos import AsyncClient, AutosError, Client, pb
from autos._client.patience import OnPause
from server.access.connection_guard import unknown_limits
from tests.network.loop_thread import LoopThread
from tests.network.proxy import Proxy
from tests.network.proxy_links import Trap
from tests.network.silent_connections import is_open, silent_connection
from tests.system.client_watches import assert_all_once
from tests.system.job_calls import documents, run, start
from tests.system.running_autos import Autos
from tests.system.running_processes import kill

DEADLINE_S = 60.0
# Called after each message with the number of messages received so far.
Meanwhile = Callable[[int], None]
Watched = Callable[[str, pb.Job, Meanwhile, OnPause, float], list[pb.WatchProgressResponse]]


@pytest.fixture
def proxy(autos: Autos) -> Iterator[Proxy]:
    """Yield a proxy in front of the server; a test can cut its connections."""
    with LoopThread() as loop:
        proxy = Proxy(loop, ("127.0.0.1", int(autos.stack.env["GRPC_LISTEN"].split(":")[1])))
        yield proxy
        proxy.close()


def _address(proxy: Proxy) -> str:
    return f"127.0.0.1:{proxy.port}"


def _in_a_thread(
    address: str, job: pb.Job, meanwhile: Meanwhile, on_pause: OnPause, heartbeat_s: float
) -> list[pb.WatchProgressResponse]:
    messages: list[pb.WatchProgressResponse] = []
    with Client(address, on_pause=on_pause) as client:
        for message in client.watch(job.job_id, heartbeat_s=heartbeat_s, timeout_s=DEADLINE_S):
            messages.append(message)
            meanwhile(len(messages))
    return messages


def _in_a_loop(
    address: str, job: pb.Job, meanwhile: Meanwhile, on_pause: OnPause, heartbeat_s: float
) -> list[pb.WatchProgressResponse]:
    async def watch() -> list[pb.WatchProgressResponse]:
        messages: list[pb.WatchProgressResponse] = []
        async with AsyncClient(address, on_pause=on_pause) as client:
            async for message in client.watch(
                job.job_id, heartbeat_s=heartbeat_s, timeout_s=DEADLINE_S
            ):
                messages.append(message)
                meanwhile(len(messages))
        return messages

    return asyncio.run(watch())


def test_a_start_whose_answer_is_lost_starts_nothing_twice(autos: Autos, proxy: Proxy) -> None:
    """The case is stored, so its job ends before the client repeats the call."""
    number = autos.portal.add_case(documents=1)
    run(autos, number)
    pauses: list[float] = []
    proxy.set_trap(Trap("lose-answer", 1, number.encode()))

    with Client(_address(proxy), on_pause=lambda _, pause_s: pauses.append(pause_s)) as client:
        job = client.start(number).job
        jobs = list(client.jobs(process_number=number))

    assert pauses, "no answer was lost"
    assert job.state == pb.JOB_STATE_COMPLETED
    assert [each.job_id for each in jobs][:-1] == [job.job_id]


@pytest.mark.parametrize("watched", [_in_a_thread, _in_a_loop])
def test_a_watch_over_cut_connections_yields_every_change_once(
    autos: Autos, proxy: Proxy, watched: Watched
) -> None:
    number = autos.portal.add_case(documents=24, latency_s=0.05, faults={9: "503-once"})
    job = start(autos, number).job
    pauses: list[float] = []

    def cut_now_and_then(received: int) -> None:
        if received % 10 == 0:
            proxy.cut()

    messages = watched(_address(proxy), job, cut_now_and_then, lambda _, s: pauses.append(s), 10)

    assert len(pauses) >= 3, "hardly ever cut: the test shows nothing"
    assert_all_once(messages, documents(autos, job))


@pytest.mark.parametrize("watched", [_in_a_thread, _in_a_loop])
def test_a_stream_that_falls_silent_is_given_up_for_a_new_one(
    autos: Autos, proxy: Proxy, watched: Watched
) -> None:
    number = autos.portal.add_case(documents=3)
    autos.portal.hold(number)
    job = start(autos, number).job
    moments: list[float] = []

    def stall_at_once(received: int) -> None:
        if received == 1:
            proxy.stall()
            moments.append(time.monotonic())

    def go_on(_: AutosError, _pause_s: float) -> None:
        moments.append(time.monotonic())
        autos.portal.release(number)
        proxy.resume()

    messages = watched(_address(proxy), job, stall_at_once, go_on, 1)

    # The client detects it by three missed heartbeats; gRPC's own pings would take 40 s.
    assert moments[1] - moments[0] < 25
    assert_all_once(messages, documents(autos, job))


def test_a_watch_outlives_the_server(hasty: Autos) -> None:
    number = hasty.portal.add_case(documents=10)
    hasty.portal.hold(number)
    errors: list[str] = []
    with Client(
        hasty.stack.env["GRPC_LISTEN"], on_pause=lambda error, _: errors.append(error.reason)
    ) as client:
        job = client.start(number).job
        messages: list[pb.WatchProgressResponse] = []
        for message in client.watch(job.job_id, timeout_s=2 * DEADLINE_S):
            if not messages:
                kill(hasty, "server")
                hasty.portal.release(number)
            messages.append(message)
        listed = list(client.documents(job.job_id))

    assert errors, "it was not even noticed"
    assert_all_once(messages, listed)


def test_silent_connections_of_one_address_leave_room_for_a_client(autos: Autos) -> None:
    address = ("127.0.0.1", int(autos.stack.env["GRPC_LISTEN"].split(":")[1]))
    limits = unknown_limits()
    with ExitStack() as stack:
        silent = [stack.enter_context(silent_connection(address)) for _ in range(limits.most + 50)]
        deadline = time.monotonic() + DEADLINE_S
        while sum(map(is_open, silent)) > limits.most_of_address:
            assert time.monotonic() < deadline, "the server closes none of them"
            time.sleep(0.05)
        with Client("{}:{}".format(*address)) as client:
            list(client.jobs(page_size=1))


def test_half_sent_calls_of_an_open_service_are_refused_beyond_their_limit(autos: Autos) -> None:
    async def requests() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def scenario() -> None:
        async with grpc.aio.insecure_channel(autos.stack.env["GRPC_LISTEN"]) as channel:
            check: Any = channel.stream_unary("/grpc.health.v1.Health/Check")
            calls = [check(requests(), timeout=DEADLINE_S) for _ in range(30)]
            for end in asyncio.as_completed([call.code() for call in calls]):
                assert await end == grpc.StatusCode.RESOURCE_EXHAUSTED
                return

    asyncio.run(scenario())
