"""When a failed attempt is repeated, and which attempt is the last. Pure except for the jitter."""

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
# The fifth lost lease fails the document, because it may kill its workers.
LOST_LEASES = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a transient failure is retried.

    `attempts`: attempts in all; `attempts_few`: the same for errors that a retry rarely helps
    (`is_few`). `base_s`: the first delay in seconds. `pauses` and `probes`: the policies for a
    pause of the portal and for an unavailable court.
    """

    attempts: int
    attempts_few: int
    base_s: float
    pauses: PausePolicy = field(default_factory=PausePolicy)
    probes: ProbePolicy = field(default_factory=ProbePolicy)

    def compare_s(self) -> float:
        """Return the seconds until an unconfirmed answer is compared with another one.

        The delay is longer than a short retry, so that a brief disturbance is over by then.
        """
        return jittered(self.base_s * COMPARE_FACTOR)

    def delay_s(self, error: AttemptError, *, attempts_made: int) -> float | None:
        """Return the seconds until the next attempt, None if none follows.

        It is not sooner than the portal asks, if it names a time.
        `attempts_made`: the attempts so far, including the failed one.
        """
        if not isinstance(error, TransientError):
            return None
        if attempts_made >= (self.attempts_few if error.is_few else self.attempts):
            return None
        delay_s = min(BACKOFF_CAP_S, self.base_s * BACKOFF_FACTOR ** (attempts_made - 1))
        named_s = (error.retry_after_s or 0.0) * random.uniform(1, 1 + JITTER)
        return max(jittered(delay_s), named_s)


def jittered(delay_s: float) -> float:
    """Return `delay_s` changed by up to a fifth, so that items that failed together retry apart."""
    return delay_s * random.uniform(1 - JITTER, 1 + JITTER)
