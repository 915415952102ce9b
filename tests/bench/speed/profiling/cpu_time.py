"""Processor time of process trees, from Linux itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.acceptance.harness.running_processes import family

TICKS = os.sysconf("SC_CLK_TCK")
# In /proc/PID/stat, counted behind the name: own and reaped children's, in user and system mode.
TIMES = slice(11, 15)
# In the first line of /proc/stat: idle and waiting for the disk.
IDLE = slice(3, 5)


def spent_s(leaders: Iterable[int]) -> float:
    """Processor seconds of these processes and all below them, those that have ended included."""
    return sum(_of(pid) for leader in leaders for pid in family(leader)) / TICKS


def _of(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The name may hold spaces and brackets of its own.
        return sum(map(int, stat.rpartition(")")[2].split()[TIMES]))
    return 0


def machine_s() -> float:
    """Processor seconds that this machine has been busy, whoever with."""
    words = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    ticks = [int(word) for word in words]
    return (sum(ticks) - sum(ticks[IDLE])) / TICKS


class CpuMeter:
    """Processor seconds of several trees by name, from when it is made until it is read."""

    def __init__(self, leaders: Mapping[str, Iterable[int]]) -> None:
        self._leaders = {name: list(pids) for name, pids in leaders.items()}
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        spent = {name: spent_s(pids) for name, pids in self._leaders.items()}
        return {**spent, "machine": machine_s()}

    def read(self) -> dict[str, float]:
        """Of each tree; `machine`: of all that ran on it, others' too."""
        return {name: after - self._before[name] for name, after in self._now().items()}
