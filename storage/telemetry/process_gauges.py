"""Gauges of a process: those that a function reads, and its version and use of resources."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_TICKS_IN_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/PID/stat after the name of the program, counted from 0.
_USER, _SYSTEM, _START, _RESIDENT = 11, 12, 19, 21


class ProcessGauges(Collector):
    """The gauges of a process and its children, read when Prometheus scrapes.

    `leader`: the id of the process; of forked processes their parent, so that each of them shows
    the same numbers. The names `process_...` are those of Prometheus' own libraries.
    """

    def __init__(self, leader: int, proc: Path = Path("/proc")) -> None:
        self._leader = leader
        self._proc = proc
        self._build = GaugeMetricFamily(
            "autos_build_info", "Always 1; the version that runs", labels=("version", "python")
        )
        self._build.add_metric((_version(), platform.python_version()), 1)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; only the version where there is no /proc."""
        yield self._build
        readings = {pid: fields for pid in self._pids() if (fields := self._stat(pid))}
        if self._leader not in readings:
            return
        ticks = sum(int(each[_USER]) + int(each[_SYSTEM]) for each in readings.values())
        yield CounterMetricFamily(
            "process_cpu_seconds", "CPU time of the living processes", ticks / _TICKS_IN_SECOND
        )
        pages = sum(int(each[_RESIDENT]) for each in readings.values())
        yield GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Memory of all processes; shared memory counts for each",
            pages * _PAGE_BYTES,
        )
        yield GaugeMetricFamily(
            "process_open_fds", "Open descriptors", sum(map(self._descriptors, readings))
        )
        started_s = int(readings[self._leader][_START]) / _TICKS_IN_SECOND
        yield GaugeMetricFamily(
            "process_start_time_seconds", "Unix time of the start", self._boot_time_s() + started_s
        )

    def _pids(self) -> list[int]:
        children = self._read(f"{self._leader}/task/{self._leader}/children")
        return [self._leader, *map(int, children.split())]

    def _stat(self, pid: int) -> list[str]:
        return self._read(f"{pid}/stat").rpartition(")")[2].split()

    def _descriptors(self, pid: int) -> int:
        with suppress(OSError):
            return sum(1 for _ in (self._proc / str(pid) / "fd").iterdir())
        return 0

    def _boot_time_s(self) -> int:
        lines = (line.split() for line in self._read("stat").splitlines())
        return next((int(words[1]) for words in lines if words[:1] == ["btime"]), 0)

    def _read(self, name: str) -> str:
        """Return the text of a file; empty if the process has ended."""
        with suppress(OSError):
            return (self._proc / name).read_text()
        return ""


def _version() -> str:
    try:
        return version("autos")
    except PackageNotFoundError:
        return "unknown"


class ReadGauges(Collector):
    """Shows what `read` returns: name, text and value of each gauge."""

    def __init__(self, read: Callable[[], Iterable[tuple[str, str, float]]]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return every family."""
        for name, text, value in self._read():
            yield GaugeMetricFamily(name, text, value=value)
