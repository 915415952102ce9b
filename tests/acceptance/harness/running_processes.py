"""What is done to the processes of a running Autos: killed, held down, stopped, looked at."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dev.processes.deadline import until
from tests.acceptance.conftest import Autos

BACK_DEADLINE_S = 60.0


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread may have ended since
            children += map(int, file.read_text().split())
    return [pid, *(each for child in children for each in family(child))]


def processes_of(autos: Autos, *names: str) -> dict[int, str]:
    """The processes of these lines of the Procfile (none named: of all), children too."""
    processes = autos.stack.processes
    leaders = {name: processes.pid_of(name) for name in names or processes.names}
    return {pid: name for name, leader in leaders.items() if leader for pid in family(leader)}


def kill(autos: Autos, *names: str) -> float:
    """Kill -9 of processes, children and all; seconds until others stand in their place."""
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
    """A process, ended in order, that is away for the length of the block."""
    autos.stack.processes.hold(name)
    try:
        yield
    finally:
        autos.stack.processes.release(name)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def has_spool_file_open(pid: int) -> bool:
    """Whether a process reads or writes a file between portal and bucket right now."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            if ".part" in str(file.readlink()):
                return True
    return False
