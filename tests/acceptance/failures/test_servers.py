"""Test several server processes on one port, of which one stops: no call is lost."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg2
import pytest
from grpc_health.v1 import health_pb2

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.stack import is_serving
from tests.databases import PATIENT
from tests.network.http2 import Caller, Event
from tests.system.job_calls import finish, run, start, status
from tests.system.running_autos import Autos, free_port

WATCH = "/autos.downloads.v1.DownloadService/WatchProgress"
WATCHERS = 300
STOP_LIMIT_S = 10.0
DEADLINE_S = 60.0
# The kernel assigns each connection to one of the two servers at random.
MOST_CONNECTIONS = 64

Server = subprocess.Popen[bytes]


@contextmanager
def _server(env: Mapping[str, str]) -> Iterator[Server]:
    server = subprocess.Popen([sys.executable, "-m", "server"], env=dict(env), cwd=ROOT)
    try:
        yield server
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def shared(autos: Autos) -> Iterator[tuple[str, list[Server]]]:
    """Yield an address and two servers that share it."""
    address = f"127.0.0.1:{free_port()}"
    env = {**autos.stack.env, "GRPC_LISTEN": address, "GRPC_REUSE_PORT": "on"}
    with _server(env) as first, _server(env) as second:
        for server in (first, second):
            until(partial(_listens, server), DEADLINE_S, "A server does not listen.")
        until(lambda: is_serving(address), DEADLINE_S, "No server serves.")
        yield address, [first, second]


def _listens(server: Server) -> bool:
    assert server.poll() is None, "A server would not share the port."
    connections = psutil.Process(server.pid).net_connections("tcp")
    return any(connection.status == psutil.CONN_LISTEN for connection in connections)


def _caller_of(server: Server, address: str, stack: ExitStack) -> Caller:
    """Return a connection that this server has accepted."""
    host, _, port = address.partition(":")
    for _ in range(MOST_CONNECTIONS):
        caller = stack.enter_context(closing(Caller(host, int(port))))
        mine = caller.socket.getsockname()[1]
        if any(c.raddr and c.raddr.port == mine for c in _accepted(server, caller)):
            return caller
    raise AssertionError("This server is never given a connection.")


def _accepted(server: Server, caller: Caller) -> list[Any]:
    # The HTTP/2 settings have arrived, so a server has accepted the connection.
    caller.socket.settimeout(DEADLINE_S)
    list(caller.read())
    return list(psutil.Process(server.pid).net_connections("tcp"))


def test_any_server_serves_any_job_and_one_that_leaves_sends_its_callers_to_the_other(
    autos: Autos, shared: tuple[str, list[Server]]
) -> None:
    address, (leaving, staying) = shared
    number = autos.portal.add_case(documents=3)
    autos.portal.hold(number)
    job_id = start(autos, number).job.job_id  # By a third server.
    autos.portal.wait_held(number, 3)
    revision = status(autos, job_id).revision
    request = pb.WatchProgressRequest(job_id=job_id, after_revision=revision).SerializeToString()

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(3))
        watchers = _caller_of(leaving, address, stack)
        unary = _caller_of(leaving, address, stack)
        asker = _caller_of(leaving, address, stack)
        other = _caller_of(staying, address, stack)
        watchers.open(WATCH, *[request] * WATCHERS)
        _read_all(watchers, WATCHERS, lambda event: event.message is not None)
        # A call that PostgreSQL delays is in progress when the server receives its stop signal.
        with _locked_jobs(autos) as unlock:
            unary.open(WATCH.replace("WatchProgress", "GetStatus"), _get_status(job_id))
            until(partial(_waits_for_lock, autos), DEADLINE_S, "GetStatus does not wait.")
            health = _watch_health(asker)
            begun = time.monotonic()
            leaving.send_signal(signal.SIGTERM)
            assert _next_health(asker, health) == health_pb2.HealthCheckResponse.NOT_SERVING
            asker.close()  # A health watch would delay the stop until the end of the grace period.
            ends = pool.submit(_read_all, watchers, WATCHERS, lambda e: e.message is None)
            farewells = ends.result()
            unlock()
        [answer] = _read_all(unary, 1, lambda event: event.message is not None)
        assert leaving.wait(DEADLINE_S) == 0
        took_s = time.monotonic() - begun

        print(f"stopped after {took_s:.1f} s")
        assert took_s < STOP_LIMIT_S
        assert pb.GetStatusResponse.FromString(answer.message or b"").job.job_id == job_id
        assert all(b"grpc-status\x0214" in event.trailers for event in farewells)
        pushbacks_ms = {_pushback_ms(event) for event in farewells}
        assert len(pushbacks_ms) > WATCHERS / 10, "they would all come back in one moment"
        assert max(pushbacks_ms) - min(pushbacks_ms) > 500
        assert min(pushbacks_ms) > 0
        # The other server continues the streams that the first one dropped.
        autos.portal.release(number)
        other.open(WATCH, request)
        last = _read_to_end(other)
        assert last.job.state == pb.JOB_STATE_COMPLETED
        assert last.job.job_id == job_id
    finish(autos, job_id)


def _read_all(caller: Caller, wanted: int, is_wanted: Callable[[Event], bool]) -> list[Event]:
    """Read events of different streams until `wanted` of them have arrived."""
    found: dict[int, Event] = {}
    caller.socket.settimeout(DEADLINE_S)
    while len(found) < wanted:
        for event in caller.read():
            assert event.stream, "The server hung up."
            if is_wanted(event):
                found.setdefault(event.stream, event)
    return list(found.values())


def _read_to_end(caller: Caller) -> pb.WatchProgressResponse:
    last = b""
    while True:
        for event in caller.read():
            if event.message is None:
                return pb.WatchProgressResponse.FromString(last)
            last = event.message


def _get_status(job_id: str) -> bytes:
    raw: bytes = pb.GetStatusRequest(job_id=job_id).SerializeToString()
    return raw


def _pushback_ms(event: Event) -> int:
    found = re.search(rb"grpc-retry-pushback-ms.(\d+)", event.trailers, re.S)
    assert found, event.trailers
    return int(found[1])


def _watch_health(caller: Caller) -> Iterator[int]:
    caller.open("/grpc.health.v1.Health/Watch", b"")
    states = _health_states(caller)
    assert next(states) == health_pb2.HealthCheckResponse.SERVING
    return states


def _health_states(caller: Caller) -> Iterator[int]:
    while True:
        for event in caller.read():
            if event.message is not None:
                yield health_pb2.HealthCheckResponse.FromString(event.message).status


def _next_health(caller: Caller, states: Iterator[int]) -> int:
    caller.socket.settimeout(DEADLINE_S)
    return next(states)


@contextmanager
def _locked_jobs(autos: Autos) -> Iterator[Callable[[], None]]:
    url = autos.stack.env["DATABASE_URL"]
    with closing(psycopg2.connect(url, options=PATIENT)) as locker:
        with locker.cursor() as cursor:
            cursor.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        yield locker.rollback


def _waits_for_lock(autos: Autos) -> bool:
    """Return True if any query for a job waits for a lock. Its truncated text names no job."""
    url = autos.stack.env["DATABASE_URL"]
    with closing(psycopg2.connect(url)) as observer, observer.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            """ AND query LIKE 'SELECT "t1"."job_id", "t1"."client"%'"""
        )
        (waiting,) = cursor.fetchone() or (0,)
    return bool(waiting)


def test_a_database_that_answers_nothing_does_not_keep_a_server_from_going(autos: Autos) -> None:
    job = run(autos, autos.portal.add_case(documents=1))
    address = f"127.0.0.1:{free_port()}"
    with _server({**autos.stack.env, "GRPC_LISTEN": address}) as server, ExitStack() as stack:
        until(lambda: is_serving(address), DEADLINE_S, "No server serves.")
        caller = _caller_of(server, address, stack)
        with _locked_jobs(autos):
            caller.open(WATCH.replace("WatchProgress", "GetStatus"), _get_status(job.job_id))
            until(partial(_waits_for_lock, autos), DEADLINE_S, "GetStatus does not wait.")
            begun = time.monotonic()
            server.send_signal(signal.SIGTERM)
            server.wait(DEADLINE_S)
            took_s = time.monotonic() - begun

    assert took_s < STOP_LIMIT_S


def test_a_port_is_shared_by_two_servers_only_if_both_allow_it(autos: Autos) -> None:
    env = {**autos.stack.env, "GRPC_REUSE_PORT": "on"}

    second = subprocess.run(
        [sys.executable, "-m", "server"], env=env, cwd=ROOT, capture_output=True, timeout=60
    )

    assert second.returncode == 1
    assert b"GRPC_REUSE_PORT" in second.stderr
