"""The recorder of metrics. The default does nothing; a process with a metrics page has Counters."""

from __future__ import annotations

from storage.telemetry.series import BY_NAME, Series


class MetricsRecorder:
    """Take events and discard them. Never raises; costs almost no time; thread-safe."""

    def add(self, series: Series, *labels: str, by: float = 1) -> None:
        """Add to a counter or a gauge."""

    def observe(self, series: Series, *labels: str, value: float) -> None:
        """Add one measurement to a histogram."""

    def counted(self, name: str, labels: tuple[str, ...], number: float) -> None:
        """Add to a series by its name, for `Database(on_count=..., on_use=...)`."""
        self.add(BY_NAME[name], *labels, by=number)


NOOP_RECORDER = MetricsRecorder()
