"""The pause that the portal asks of everybody, and the slow start after it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.database import Transaction
from storage.errors import TooFast
from storage.slots import PORTAL

CAP_S = 300.0
# Above what was asked for, so that not everything comes back in the same moment.
SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class PausePolicy:
    """`base_s`: the first pause when the portal names none, doubled each time it asks again.

    `at_once`: how many requests are allowed once the slow start is over.
    """

    base_s: float = 10.0
    at_once: int = 10


# A request that was at the portal already when the pause began tells nothing new: it may lengthen
# the pause, but it is no second strike.
_PAUSE = f"""
WITH strike AS (
    SELECT coalesce((SELECT min(taken_time) FROM slots WHERE lease = %(lease)s),
               clock_timestamp()) > pause_time AS is_new,
        (SELECT count(*) FROM slots WHERE scope = '{PORTAL}'
            AND lease_until >= clock_timestamp()) AS busy
    FROM portal)
UPDATE portal SET
    pause_time = CASE WHEN is_new THEN clock_timestamp() ELSE pause_time END,
    pause_count = pause_count + is_new::integer,
    paused_until = greatest(paused_until, clock_timestamp() + interval '1 second'
        * least({CAP_S}, %(spread)s * coalesce(%(asked_s)s::double precision,
            CASE WHEN is_new THEN %(base_s)s * power(2, least(pause_count, 20)) ELSE 0 END))),
    eased = 1, eased_to = %(at_once)s,
    eased_fast_to = CASE WHEN is_new THEN greatest(1, busy / 2.0) ELSE eased_fast_to END
FROM strike
RETURNING extract(epoch FROM paused_until - clock_timestamp()) AS wait_s
"""


def pause(transaction: Transaction, lease: UUID, error: TooFast, policy: PausePolicy) -> float:
    """Has everybody wait, because the request of the claim `lease` was too much; seconds.

    As long as the portal said; without a word of it `base_s` x 2^n. Never above CAP_S.
    """
    row = transaction.only(
        _PAUSE,
        lease=lease,
        asked_s=error.retry_after_s,
        base_s=policy.base_s,
        at_once=policy.at_once,
        spread=1 + random.uniform(0, SPREAD),
    )
    return max(0.0, float(row["wait_s"]))


def is_own(
    transaction: Transaction, error: TooFast, *, since: datetime | None, refusals: int
) -> bool:
    """Whether a refusal is the affair of what was asked for, and no reason for anybody to pause.

    It has been refused `refusals` times in a row, for the first time at `since`, while others were
    given what they asked for.
    """
    if since is None or refusals < error.own_after:
        return False
    row = transaction.one("SELECT FROM portal WHERE good_time > %(since)s", since=since)
    return row is not None
