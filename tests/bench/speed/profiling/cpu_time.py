"""Measure the CPU time of process trees from Linux's own counters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.system.running_processes import family

TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name: user and system time, own and of reaped children.
TIMES = slice(11, 15)
# Fields in the first line of /proc/stat: idle time and waits for the disk.
IDLE = slice(3, 5)


def spent_s(leaders: Iterable[int]) -> float:
    """Return the CPU seconds of these processes and their descendants, ended ones included."""
    return sum(_of(pid) for leader in leaders for pid in family(leader)) / TICKS


def _of(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The name may contain spaces and brackets.
        return sum(map(int, stat.rpartition(")")[2].split()[TIMES]))
    return 0


def machine_s() -> float:
    """Return the CPU seconds that this machine has been busy, for all processes."""
    words = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    ticks = [int(word) for word in words]
    return (sum(ticks) - sum(ticks[IDLE])) / TICKS


class CpuMeter:
    """Measures the CPU seconds of named process trees from its creation until it is read."""

    def __init__(self, leaders: Mapping[str, Iterable[int]]) -> None:
        self._leaders = {name: list(pids) for name, pids in leaders.items()}
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        spent = {name: spent_s(pids) for name, pids in self._leaders.items()}
        return {**spent, "machine": machine_s()}

    def read(self) -> dict[str, float]:
        """Return the seconds of each tree; `machine`: of all processes, others included."""
        return {name: after - self._before[name] for name, after in self._now().items()}
