"""Refused scopes, each with the time before which nothing of it is proposed."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass

# Seconds after a refusal without a time: locked rows, or all slots taken.
FIRST_DELAY_S = 0.02
MAX_DELAY_S = 1.0


@dataclass(slots=True)
class _Refusal:
    until: float
    delay_s: float
    refused_at: float
    has_named_end: bool


class Backoff:
    """Exponential backoff by scope, for refusals that name no time."""

    def __init__(self) -> None:
        self._refusals: dict[Hashable, _Refusal] = {}
        self._ends: list[float] = []

    def refuse(
        self, scope: Hashable, now: float, *, until: float | None, proposed_at: float
    ) -> float:
        """Block a scope. Return the time before which nothing of it is proposed.

        If several proposals were outstanding together, only the first refusal lengthens the delay.
        """
        known = self._refusals.get(scope)
        has_named_end = until is not None
        if until is not None:
            delay_s = known.delay_s if known else 0.0
        elif known is None or not known.delay_s:
            delay_s, until = FIRST_DELAY_S, now + FIRST_DELAY_S
        else:
            is_same_burst = proposed_at < known.refused_at
            if is_same_burst and known.until > now:
                return known.until
            delay_s = min(MAX_DELAY_S, (1 if is_same_burst else 2) * known.delay_s)
            until = now + delay_s
        if known:
            until = max(until, known.until)
        self._refusals[scope] = _Refusal(until, delay_s, now, has_named_end)
        heapq.heappush(self._ends, until)
        return until

    def accept(self, scope: Hashable, now: float) -> None:
        """Reset the delay: a request of this scope began."""
        known = self._refusals.get(scope)
        if known:
            known.delay_s = 0.0
            if known.until <= now:
                del self._refusals[scope]

    def lift(self, scope: Hashable) -> None:
        """End the block of a scope: the awaited change has happened."""
        self._refusals.pop(scope, None)

    def lift_named_end(self, scope: Hashable, before: float) -> None:
        """End a block if the refusal named its end before this time: a newer reading exists."""
        known = self._refusals.get(scope)
        if known and known.has_named_end and known.refused_at < before:
            del self._refusals[scope]

    def blocked_until(self, scope: Hashable, now: float) -> float | None:
        """Return when the block of a scope ends; None if it is not blocked."""
        known = self._refusals.get(scope)
        return known.until if known and known.until > now else None

    def next_end(self, now: float) -> float | None:
        """Return when the next block ends; None if nothing is blocked."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return self._ends[0] if self._ends else None

    def forget(self, before: float) -> None:
        """Forget blocks that ended before this time."""
        for scope in [s for s, refusal in self._refusals.items() if refusal.until < before]:
            del self._refusals[scope]
