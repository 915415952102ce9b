"""The rate at which bytes come."""

from __future__ import annotations

from collections import deque

RATE_OVER_S = 10.0


class Meter:
    """Measures bytes per second over the last ten seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def note(self, total: int, now: float) -> None:
        """Record the total number of bytes. `now`: monotonic seconds."""
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[1][0] <= now - RATE_OVER_S:
            self._points.popleft()

    def per_s(self, now: float) -> float:
        """Return bytes per second; 0 without a measurement. `now`: monotonic seconds."""
        if not self._points:
            return 0.0
        (begun, first), (_, last) = self._points[0], self._points[-1]
        return max(0, last - first) / max(0.5, now - begun)
