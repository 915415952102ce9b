"""The content of this host's spool, read from its folder when Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from storage.spool import Spool


class SpoolGauges(Collector):
    """The gauges of one spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return every family."""
        files, size_bytes = self._spool.usage()
        yield GaugeMetricFamily(
            "autos_spool_bytes", "Bytes in the spool, reserved ones included", value=size_bytes
        )
        yield GaugeMetricFamily("autos_spool_files", "Files in the spool", value=files)
        yield GaugeMetricFamily(
            "autos_spool_limit_bytes", "SPOOL_MAX_BYTES", value=self._spool.max_bytes
        )
