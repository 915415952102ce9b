"""Whether workers answer proposals: all of them may be cut off from the scheduler's Valkey.

While the leading scheduler can write to Valkey, workers may not claim without a proposal. If no
worker can read the proposals, no request would begin. So the scheduler reports that it cannot send
when all proposals expire without an answer.
"""

from __future__ import annotations

# If all proposals expire for this many seconds, no worker reads them. On a busy machine some
# proposals expire too, but others are answered.
UNANSWERED_S = 3.0


class Reach:
    """The proposals that expired since the last answer of any worker."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = 0.0

    def answered(self) -> None:
        """Record that a worker answered a proposal."""
        self._first = None

    def expired(self, now: float) -> None:
        """Record that a proposal expired."""
        self._first = now if self._first is None else self._first
        self._last = now

    @property
    def has_workers(self) -> bool:
        """Return whether workers answer, as far as the proposals show."""
        return self._first is None or self._last - self._first < UNANSWERED_S
