"""The pause that the portal requests for all workers, and the slow start after it.

A refusal of the firewall may concern one address only. So it pauses the client of the request, and
all clients only if the requests of two clients were refused with no good answer between.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage import sql
from storage.errors import TooFast
from storage.models import PortalThrottle
from storage.portal.outcomes import FailureEffect
from storage.portal.slots import PORTAL
from storage.postgres.database import Transaction

# No pause is longer. actors/portal/portal_answers.py has the same limit for the times that the
# portal names: RETRY_AFTER_CAP_S.
CAP_S = 300.0
# Added to the requested pause, so that not all requests begin again at the same time.
SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class PausePolicy:
    """How long a pause lasts. `base_s`: the first pause if the portal names no time.

    Each further pause is twice as long. `at_once`: concurrent requests when the slow start is over.
    """

    base_s: float = 10.0
    at_once: int = 10


def back_off(
    transaction: Transaction, lease: UUID, client: str, error: TooFast, policy: PausePolicy
) -> FailureEffect:
    """Pause requests because the request of the claim `lease`, for a job of `client`, was refused.

    The pause lasts as long as the portal requested. If the portal named no time, it lasts `base_s`
    x 2^n. It is never longer than CAP_S.
    """
    row = transaction.only(
        sql.statement("pause_portal"),
        scope=PORTAL,
        cap_s=CAP_S,
        lease=lease,
        client=client if error.is_of_firewall else None,
        asked_s=error.retry_after_s,
        base_s=policy.base_s,
        at_once=policy.at_once,
        spread=1 + random.uniform(0, SPREAD),
    )
    return FailureEffect(max(0.0, float(row["wait_s"])), client=row["paused_client"])


def is_document_specific(
    transaction: Transaction, error: TooFast, *, since: datetime | None, refusals: int
) -> bool:
    """Return whether a refusal concerns only the requested item, so that other requests continue.

    The portal refused the item `refusals` times in a row, for the first time at `since`, and
    answered other requests since then.
    """
    if since is None or refusals < error.own_after:
        return False
    others_were_given = PortalThrottle.select().where(PortalThrottle.good_time > since)
    return transaction.fetch_one(others_were_given) is not None
