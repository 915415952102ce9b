"""When a failed attempt is made again, and when it was the last. Pure but for the jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from storage.errors import AttemptError, TransientError
from storage.portal.circuit_breaker import ProbePolicy
from storage.portal.throttle import PausePolicy

BACKOFF_FACTOR = 3
COMPARE_FACTOR = 5
BACKOFF_CAP_S = 60.0
JITTER = 0.2
# The fifth lost lease fails a document that kills its workers.
LOST_LEASES = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a transient failure is tried: `attempts` in all, `attempts_few` where PDPJ.md
    says "few"; the first pause is `base_s` seconds. `pauses` and `probes`: what everybody does when
    the portal asks for a pause, or a court is away.
    """

    attempts: int
    attempts_few: int
    base_s: float
    pauses: PausePolicy = field(default_factory=PausePolicy)
    probes: ProbePolicy = field(default_factory=ProbePolicy)

    def compare_s(self) -> float:
        """Return how many seconds later an answer that nothing supports is compared with another.

        Later than any retry of a moment, so that a disturbance of a moment is over.
        """
        return jittered(self.base_s * COMPARE_FACTOR)

    def delay_s(self, error: AttemptError, *, attempts_made: int) -> float | None:
        """Seconds until the next attempt; None when `attempts_made` (this one too) were enough."""
        if not isinstance(error, TransientError):
            return None
        if attempts_made >= (self.attempts_few if error.is_few else self.attempts):
            return None
        delay_s = min(BACKOFF_CAP_S, self.base_s * BACKOFF_FACTOR ** (attempts_made - 1))
        return jittered(delay_s)


def jittered(delay_s: float) -> float:
    """`delay_s` give or take a fifth, so that what failed together is not tried together."""
    return delay_s * random.uniform(1 - JITTER, 1 + JITTER)
