"""Gauges that a function reads when Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class ReadGauges(Collector):
    """Shows what `read` returns: name, text and value of each gauge."""

    def __init__(self, read: Callable[[], Iterable[tuple[str, str, float]]]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return every family."""
        for name, text, value in self._read():
            yield GaugeMetricFamily(name, text, value=value)
