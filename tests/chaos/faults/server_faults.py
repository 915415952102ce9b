"""Faults of servers and of the connections to them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from dev.processes.deadline import until
from tests.chaos.chaos_environment import ChaosEnvironment
from tests.chaos.faults.fault_plan import PlannedFault
from tests.network.proxy import Proxy
from tests.network.proxy_links import Trap

BACK_S = 30.0
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
EVERY = 1_000_000


def _server(fault: PlannedFault) -> str:
    return fault.kind.partition("-")[0]


@contextmanager
def stop(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Stop a server in order and start it again; its data stays."""
    name = _server(fault)
    environment.servers.supervisor.hold(name)
    try:
        yield
    finally:
        environment.servers.supervisor.release(name)
        environment.servers.await_ready(name)


@contextmanager
def kill(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Send SIGKILL to a server, which is started again at once."""
    name = _server(fault)
    pid = environment.servers.supervisor.pid_of(name)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        is_another = lambda: environment.servers.supervisor.pid_of(name) not in (None, pid)  # noqa: E731
        until(is_another, BACK_S, f"{name} does not come back.")
    environment.servers.await_ready(name)
    yield


@contextmanager
def cut(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Cut all connections to a server once."""
    environment.proxies[_server(fault)].cut()
    yield


@contextmanager
def _treated(
    environment: ChaosEnvironment, fault: PlannedFault, treat: Callable[[Proxy], None]
) -> Iterator[None]:
    proxy = environment.proxies[_server(fault)]
    treat(proxy)
    try:
        yield
    finally:
        proxy.resume()


def stall(
    environment: ChaosEnvironment, fault: PlannedFault
) -> contextlib.AbstractContextManager[None]:
    """Forward no byte to or from a server, and break no connection."""
    return _treated(environment, fault, Proxy.stall)


def refuse(
    environment: ChaosEnvironment, fault: PlannedFault
) -> contextlib.AbstractContextManager[None]:
    """Cut connections and refuse new ones."""
    return _treated(environment, fault, Proxy.refuse)


def busy(
    environment: ChaosEnvironment, fault: PlannedFault
) -> contextlib.AbstractContextManager[None]:
    """Answer every request with 503."""
    return _treated(environment, fault, lambda proxy: proxy.answer(BUSY))


def trap(
    environment: ChaosEnvironment, fault: PlannedFault
) -> contextlib.AbstractContextManager[None]:
    """Cut the next few matching connections, before or after the requested operation."""
    times = 1 + int(fault.pick * 5)
    cut_at = int(fault.pick * 15_000)
    traps = {
        "postgres-before-commit": Trap("cut-before", times, b"COMMIT"),
        "postgres-after-commit": Trap("lose-answer", times, b"COMMIT"),
        "valkey-lost-answers": Trap("lose-answer", times, b"EVALSHA"),
        "s3-cut-uploads": Trap("cut-up", times, after_bytes=cut_at),
        "s3-lost-answers": Trap("lose-answer", times, b"PUT /"),
        "portal-cut-files": Trap("cut-down", times, after_bytes=cut_at),
    }
    return _treated(environment, fault, lambda proxy: proxy.set_trap(traps[fault.kind]))


def _valkey(environment: ChaosEnvironment) -> redis.Redis:
    """Return a client without the proxy."""
    return redis.Redis.from_url(environment.servers.env["REDIS_URL"])


@contextmanager
def flush(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Send FLUSHALL."""
    with _valkey(environment) as client:
        client.flushall()
    yield


@contextmanager
def wipe(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Stop Valkey and delete its data folder."""
    environment.servers.supervisor.hold("valkey")
    for path in (environment.folder / "servers" / "valkey").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        yield
    finally:
        environment.servers.supervisor.release("valkey")
        environment.servers.await_ready("valkey")


@contextmanager
def fill(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Exhaust Valkey's memory: it answers reads and refuses writes."""
    with _valkey(environment) as client:
        client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        with _valkey(environment) as client:
            client.config_set("maxmemory", 0)
