"""Whether this scheduler leads, read when Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class SchedulerGauges(Collector):
    """The gauge of one scheduler. `is_leading`: whether its term is in force now."""

    def __init__(self, is_leading: Callable[[], bool]) -> None:
        self._is_leading = is_leading

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return every family."""
        yield GaugeMetricFamily(
            "autos_scheduler_leads",
            "1 while this scheduler leads",
            value=float(self._is_leading()),
        )
