"""The pause that the portal asks of everybody, and the slow start after it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage import sql
from storage.errors import TooFast
from storage.models import PortalThrottle
from storage.portal.slots import PORTAL
from storage.postgres.database import Transaction

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


def back_off(transaction: Transaction, lease: UUID, error: TooFast, policy: PausePolicy) -> float:
    """Pause all requests because the one of the claim `lease` was too much. Return the seconds.

    As long as the portal said; if it named no time, `base_s` x 2^n. Never above CAP_S.
    """
    row = transaction.only(
        sql.statement("pause_portal"),
        scope=PORTAL,
        cap_s=CAP_S,
        lease=lease,
        asked_s=error.retry_after_s,
        base_s=policy.base_s,
        at_once=policy.at_once,
        spread=1 + random.uniform(0, SPREAD),
    )
    return max(0.0, float(row["wait_s"]))


def is_document_specific(
    transaction: Transaction, error: TooFast, *, since: datetime | None, refusals: int
) -> bool:
    """Whether a refusal is the affair of what was asked for, and no reason for anybody to pause.

    It has been refused `refusals` times in a row, for the first time at `since`, while others were
    given what they asked for.
    """
    if since is None or refusals < error.own_after:
        return False
    others_were_given = PortalThrottle.select().where(PortalThrottle.good_time > since)
    return transaction.fetch_one(others_were_given) is not None
