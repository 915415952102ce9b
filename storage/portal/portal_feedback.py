"""What an answer says about the portal itself, beside what it says about the document asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage import sql
from storage.errors import AttemptError, PermanentError, TooFast, TransientError
from storage.portal import circuit_breaker, slots, throttle
from storage.portal.retries import RetryPolicy
from storage.postgres.database import Transaction

# What is reported for 502, 503, 504, broken connections and time that ran out.
AWAY = "PORTAL_UNAVAILABLE"
# More than any court has slots: all of them can be used again.
ALL = 1_000


@dataclass(frozen=True, slots=True)
class FailureEffect:
    """What everybody makes of a failed request.

    `wait_s` not None: it burns no attempt, and whoever asks the same waits for so many seconds.
    `failing_since`: when what was asked for began to get nothing but failures of the portal's.
    `wakes`: how many requests more than before may begin now. `lingers`: its slots are free only a
    moment later.
    """

    wait_s: float | None = None
    is_long: bool = False
    failing_since: datetime | None = None
    extra_requests: int = 0
    delays_release: bool = False


def record_success(transaction: Transaction, slot_token: UUID) -> int:
    """Note an answer that shows the portal at work, and free the slots of its request.

    Returns how many requests more than before may begin.
    """
    function = sql.function("portal_answered")
    row = transaction.only(function.call, slot_tokens=[slot_token])
    return extra_requests(was_away=row["was_away"], growth=row["growth"])


def extra_requests(*, was_away: bool, growth: int) -> int:
    """How many requests more than before may begin after answers that say this.

    `growth`: by how many the portal's limit has grown.
    """
    return ALL if was_away else growth


def record_portal_failure(
    transaction: Transaction,
    lease: UUID,
    court: str,
    error: AttemptError,
    policy: RetryPolicy,
    *,
    since: datetime | None,
    refusals: int = 0,
) -> FailureEffect:
    """A request that failed, of something that has been failing `since` (None: not yet).

    `refusals`: how often in a row the portal had asked for a pause instead of giving it.
    """
    now = transaction.now()
    if isinstance(error, TooFast):
        is_own = throttle.is_document_specific(transaction, error, since=since, refusals=refusals)
        wait_s = None if is_own else throttle.back_off(transaction, lease, error, policy.pauses)
        slots.release(transaction, lease)
        return FailureEffect(wait_s, failing_since=since or now)
    if isinstance(error, PermanentError) and not error.is_requested:
        slots.release(transaction, lease)
        return FailureEffect()
    if error.reason != AWAY:
        return FailureEffect(extra_requests=record_success(transaction, lease))
    lingers = isinstance(error, TransientError) and not error.is_answered
    (slots.release_after_delay if lingers else slots.release)(transaction, lease)
    began = since or now
    away = circuit_breaker.record_failure(transaction, court, since=began, policy=policy.probes)
    if away is None:
        return FailureEffect(failing_since=began, delays_release=lingers)
    return FailureEffect(away.wait_s, away.is_long, began, delays_release=lingers)
