"""The recorder of metrics for Prometheus, and the gauges of a process and its use of resources.

In the processes that Dramatiq forks, prometheus_client keeps the numbers in files of a shared
folder (its multiprocess mode). Each of these processes can show the sums: see
shared_folder.py.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from storage.telemetry.series import ALL, FROM_THE_START, Kind, MetricsRecorder, Series
from storage.telemetry.shared_folder import VARIABLE

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


# The series with start times: they would double the lines, and Prometheus detects restarts itself.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Counters(MetricsRecorder):
    """Count the events of this process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # A series without labels is shown from its creation on: only create it where it is counted.
        self._metrics = {series: _metric(series, self._registry) for series in ALL if series.labels}
        self._lock = threading.Lock()
        # In prometheus_client, the look-up of a child by its labels costs more than the count
        # itself.
        self._children: dict[tuple[Series, tuple[str, ...]], Any] = {}
        for series, label in FROM_THE_START:
            self.add(series, label, by=0)

    def add(self, series: Series, *labels: str, by: float = 1) -> None:
        """Add to a counter or a gauge."""
        self._child(series, labels).inc(by)

    def observe(self, series: Series, *labels: str, value: float) -> None:
        """Add one measurement to a histogram."""
        self._child(series, labels).observe(value)

    def shown(self, gauges: Collector | None) -> CollectorRegistry:
        """Return a page's content: sums over the processes that share a folder, and `gauges`."""
        registry, leader = self._registry, os.getpid()
        if folder := os.environ.get(VARIABLE):
            registry, leader = CollectorRegistry(), os.getppid()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        registry.register(ProcessGauges(leader))
        if gauges is not None:
            registry.register(gauges)
        return registry

    def _child(self, series: Series, labels: tuple[str, ...]) -> Any:
        child = self._children.get((series, labels))
        if child is None:
            child = self._children[series, labels] = self._make_child(series, labels)
        return child

    def _make_child(self, series: Series, labels: tuple[str, ...]) -> Any:
        if series.labels:
            return self._metrics[series].labels(*labels)
        with self._lock:
            if series not in self._metrics:
                self._metrics[series] = _metric(series, self._registry)
            return self._metrics[series]


def _metric(series: Series, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if series.kind is Kind.COUNTER:
        return Counter(series.name, series.text, series.labels, registry=registry)
    if series.kind is Kind.GAUGE:
        return Gauge(
            series.name, series.text, series.labels, registry=registry, multiprocess_mode="livesum"
        )
    return Histogram(
        series.name, series.text, series.labels, registry=registry, buckets=series.buckets_s
    )
