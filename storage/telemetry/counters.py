"""The recorder of metrics for Prometheus.

In the processes that Dramatiq forks, prometheus_client keeps the numbers in files of a shared
folder (its multiprocess mode). Each of these processes can show the sums: see
shared_folder.py.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from storage.telemetry.metrics_recorder import MetricsRecorder
from storage.telemetry.process_gauges import ProcessGauges
from storage.telemetry.series import ALL, FROM_THE_START, Kind, Series
from storage.telemetry.shared_folder import VARIABLE

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
