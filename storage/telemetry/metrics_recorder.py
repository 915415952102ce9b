"""Who is told what happened. Nobody, unless a process has a metrics page."""

from __future__ import annotations

from storage.telemetry.series import BY_NAME, Series


class MetricsRecorder:
    """Takes what happened, and forgets it. Never raises, takes next to no time; thread-safe."""

    def add(self, series: Series, *labels: str, by: float = 1) -> None:
        """Adds to a counter or a gauge."""

    def observe(self, series: Series, *labels: str, value: float) -> None:
        """Adds one measurement to a histogram."""

    def counted(self, name: str, labels: tuple[str, ...], number: int) -> None:
        """What a transaction did, for `Database(on_count=...)`."""
        self.add(BY_NAME[name], *labels, by=number)


NOOP_RECORDER = MetricsRecorder()
