"""Faults of processes: killed, frozen, stopped, lost with their host."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.chaos_environment import ChaosEnvironment
from tests.chaos.faults.fault_plan import PlannedFault
from tests.chaos.faults.open_ports import ports_of
from tests.chaos.hosts import Host


def _hosts_of(environment: ChaosEnvironment, fault: PlannedFault, name: str) -> list[Host]:
    """Return one of the hosts that run it, or all of them."""
    running = [key for key, host in environment.hosts.items() if name in host.names]
    choice = fault.choose([*running, "all"])
    return [environment.hosts[key] for key in running if choice in (key, "all")]


def _ill_treated(environment: ChaosEnvironment, pids: list[int], until: float) -> None:
    """Mark the connections of these processes, so that the checks ignore their requests."""
    environment.proxies["portal"].mark(ports_of(pids), until)


def _kill(environment: ChaosEnvironment, killed: list[tuple[Host, str]]) -> None:
    """Send SIGKILL to all at once; return when others have replaced them."""
    leaders = [(host, name, host.supervisor.pid_of(name)) for host, name in killed]
    _ill_treated(environment, [p for host, name in killed for p in host.pids(name)], time.time())
    for host, name, _ in leaders:
        host.kill(name)
    for host, name, leader in leaders:
        host.await_return(name, leader)


@contextmanager
def kill(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Send SIGKILL to a line of the Procfile, on one host or on both."""
    name = fault.kind.removesuffix("-kill")
    _kill(environment, [(host, name) for host in _hosts_of(environment, fault, name)])
    yield


@contextmanager
def kill_all(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Send SIGKILL to everything on both hosts."""
    _kill(environment, [(host, name) for host in environment.hosts.values() for name in host.names])
    yield


@contextmanager
def term(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Send SIGTERM: the process stops in order and is started again."""
    name = fault.kind.removesuffix("-term")
    for host in _hosts_of(environment, fault, name):
        leader = host.supervisor.pid_of(name)
        if leader is not None:
            _ill_treated(environment, host.pids(name), time.time())
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGTERM)
            host.await_return(name, leader)
    yield


@contextmanager
def freeze(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Send SIGSTOP to a process and its children, and SIGCONT after a while."""
    name = fault.kind.removesuffix("-freeze")
    pids = [pid for host in _hosts_of(environment, fault, name)[:1] for pid in host.pids(name)]
    _ill_treated(environment, pids, time.time() + fault.for_s)
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _ill_treated(environment, pids, time.time())
        _signal(pids, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def lose_host(environment: ChaosEnvironment, fault: PlannedFault) -> Iterator[None]:
    """Lose the second host with its disk for good; replace it after a while."""
    host = environment.second
    _ill_treated(environment, [p for name in host.names for p in host.pids(name)], time.time())
    host.lose()
    try:
        yield
    finally:
        host.replace()
