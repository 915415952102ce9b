"""Whether workers answer proposals: all of them may be cut off from the scheduler's Valkey.

The scheduler writes to Valkey, and would keep workers that read no message from claiming by
themselves.
"""

from __future__ import annotations

# The seconds for which proposals expire one after another without any answer. A busy machine may
# let some expire.
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
