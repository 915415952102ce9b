"""When a failed attempt is made again, and when it was the last. Pure but for the jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

from storage.errors import AttemptError, TooFast, TransientError

BACKOFF_FACTOR = 3
BACKOFF_CAP_S = 60.0
PAUSE_BASE_S = 10.0
PAUSE_CAP_S = 300.0
JITTER = 0.2
# The fifth lost lease fails a document that kills its workers.
LOST_LEASES = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a transient failure is tried: `attempts` in all, `attempts_few` where PDPJ.md
    says "few"; the first pause is `base_s` seconds.
    """

    attempts: int
    attempts_few: int
    base_s: float

    def delay_s(self, error: AttemptError, *, attempts_made: int) -> float | None:
        """Seconds until the next attempt; None when `attempts_made` (this one too) were enough."""
        if not isinstance(error, TransientError):
            return None
        if attempts_made >= (self.attempts_few if error.is_few else self.attempts):
            return None
        delay_s = min(BACKOFF_CAP_S, self.base_s * BACKOFF_FACTOR ** (attempts_made - 1))
        return jittered(delay_s)


def pause_s(error: TooFast, *, pauses_made: int) -> float:
    """Seconds to wait after the portal said "too fast" for the `pauses_made`-th time.

    Never less than it asked for, never more than five minutes.
    """
    if error.retry_after_s is not None:
        return min(PAUSE_CAP_S, error.retry_after_s * random.uniform(1, 1 + JITTER))
    return min(PAUSE_CAP_S, jittered(PAUSE_BASE_S * 2 ** min(pauses_made, 10)))


def jittered(delay_s: float) -> float:
    """`delay_s` give or take a fifth, so that what failed together is not tried together."""
    return delay_s * random.uniform(1 - JITTER, 1 + JITTER)
