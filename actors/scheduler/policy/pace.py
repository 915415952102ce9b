"""The pace of passes: without a pause in a short burst, at intervals under load."""

from __future__ import annotations

# Passes in a row without a pause.
BURST_PASSES = 10
# Seconds between two passes after a burst. One pass then takes the hints of several slices, and a
# pass costs several round trips, whatever it takes.
PASS_INTERVAL_S = 0.015


class Pace:
    """A token bucket: BURST_PASSES at most, one more every PASS_INTERVAL_S."""

    def __init__(self, now: float) -> None:
        self._passes = float(BURST_PASSES)
        self._at = now

    def pause_s(self, now: float) -> float:
        """Count a pass that begins now, and return the seconds for which it must wait before."""
        gained = (now - self._at) / PASS_INTERVAL_S
        self._passes = min(BURST_PASSES, self._passes + gained) - 1
        self._at = now
        return max(0.0, -self._passes * PASS_INTERVAL_S)
