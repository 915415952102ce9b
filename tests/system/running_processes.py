"""Kill, stop, suspend and inspect the processes of a running Autos."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dev.processes.deadline import until
from tests.system.running_autos import Autos

BACK_DEADLINE_S = 60.0


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        # The thread may have ended meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            children += map(int, file.read_text().split())
    return [pid, *(each for child in children for each in family(child))]


def processes_of(autos: Autos, *names: str) -> dict[int, str]:
    """Return the processes of these Procfile lines and their children; no line means all."""
    processes = autos.stack.processes
    leaders = {name: processes.pid_of(name) for name in names or processes.names}
    return {pid: name for name, leader in leaders.items() if leader for pid in family(leader)}


def kill(autos: Autos, *names: str) -> float:
    """Send SIGKILL to processes and children; return the seconds until replacements run."""
    processes = autos.stack.processes
    killed = {name: processes.pid_of(name) for name in names}
    begun = time.monotonic()
    for pid in killed.values():
        assert pid
        os.killpg(pid, signal.SIGKILL)
    until(
        lambda: all(processes.pid_of(name) not in (None, pid) for name, pid in killed.items()),
        BACK_DEADLINE_S,
        f"Not all of {names} came back.",
    )
    return time.monotonic() - begun


@contextmanager
def held_down(autos: Autos, name: str) -> Iterator[None]:
    """Stop a process in order, and keep it down for the length of the block."""
    autos.stack.processes.hold(name)
    try:
        yield
    finally:
        autos.stack.processes.release(name)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Suspend a process for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def has_spool_file_open(pid: int) -> bool:
    """Return True if a process has a spool file open now."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # The process has closed it meanwhile.
            if ".part" in str(file.readlink()):
                return True
    return False
