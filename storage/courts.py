"""The breaker of each court: who answers nothing but 502, 503, 504 or silence counts as away.

A court that is away gets one probe at growing intervals; what waits for it burns no attempt. Any
other answer ends that. A document whose own first failure is older than the court's last sign of
life says nothing about the court: it is the document that is broken, and its attempts count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.database import Transaction

PROBE_FACTOR = 2
PROBE_CAP_S = 60.0


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """When a court counts as away, and how it is asked whether it is back.

    `burst` failures in a row, with no other answer between them, say that it is. The first probe
    comes after `base_s` seconds, every further one after twice as long. After `patience_s` a probe
    asks for the listing instead of a file, since it may be the file.
    """

    base_s: float = 5.0
    patience_s: float = 120.0
    burst: int = 4


def _wait(probes: str) -> str:
    """SQL for the wait before the next probe, when so many have been made."""
    return (
        f"least({PROBE_CAP_S}, %(base_s)s * power({PROBE_FACTOR}, least({probes}, 10)))"
        " * interval '1 second'"
    )


_FAILED = f"""
INSERT INTO courts (court, failure_count, failing_since)
VALUES (%(court)s, 1, clock_timestamp())
ON CONFLICT (court) DO UPDATE SET failure_count = courts.failure_count + 1,
    failing_since = coalesce(courts.failing_since, clock_timestamp()),
    next_probe_time = CASE WHEN courts.next_probe_time IS NULL
        AND courts.failure_count + 1 >= %(burst)s
        THEN clock_timestamp() + {_wait("courts.probe_count")}
        ELSE courts.next_probe_time END
WHERE courts.next_probe_time IS NOT NULL
    OR coalesce(courts.alive_time, '-infinity') < %(since)s
RETURNING extract(epoch FROM next_probe_time - clock_timestamp()) AS wait_s,
    clock_timestamp() - greatest(failing_since, %(since)s)
        > %(patience_s)s * interval '1 second' AS is_long
"""


@dataclass(frozen=True, slots=True)
class Away:
    """A court that is away: seconds until its next probe, and whether patience with it is over."""

    wait_s: float
    is_long: bool


def failed(
    transaction: Transaction, court: str, *, since: datetime, policy: ProbePolicy
) -> Away | None:
    """Counts a failure of something that has been failing `since`; None: the court is not away."""
    row = transaction.one(
        _FAILED,
        court=court,
        since=since,
        base_s=policy.base_s,
        patience_s=policy.patience_s,
        burst=policy.burst,
    )
    if row is None or row["wait_s"] is None:
        return None
    return Away(max(0.0, float(row["wait_s"])), row["is_long"])


def begin_probe(transaction: Transaction, court: str, policy: ProbePolicy) -> bool:
    """Takes the one probe that is due; False when somebody has, or none is due."""
    return bool(
        transaction.run(
            "UPDATE courts SET probe_count = probe_count + 1,"
            f" next_probe_time = clock_timestamp() + {_wait('probe_count + 1')}"
            " WHERE court = %(court)s AND next_probe_time <= clock_timestamp()",
            court=court,
            base_s=policy.base_s,
        )
    )


# The answer to a request that was there before the failures began says nothing about them.
# `answers`: SQL for the lease and the court of each.
ALIVE = """
UPDATE courts SET failure_count = 0, failing_since = NULL, next_probe_time = NULL,
    probe_count = 0, alive_time = clock_timestamp()
FROM (SELECT court, next_probe_time IS NOT NULL AS was_away FROM courts
      WHERE court = ANY(ARRAY(SELECT court FROM %(answers)s AS answers))
          AND failure_count > 0 AND EXISTS (
              SELECT FROM %(answers)s AS answers(lease, court)
              WHERE answers.court = courts.court AND NOT EXISTS (
                  SELECT FROM slots
                  WHERE slots.lease = answers.lease AND taken_time < failing_since))
      ORDER BY court FOR UPDATE) AS before
WHERE courts.court = before.court RETURNING courts.court, was_away
"""
_ONE_ALIVE = ALIVE.replace(
    "%(answers)s", "(SELECT %(lease)s::uuid AS lease, %(court)s::text AS court)"
)


def alive(transaction: Transaction, court: str, lease: UUID) -> bool:
    """Notes a sign of life, the answer to the request of `lease`; whether the court was away."""
    row = transaction.one(_ONE_ALIVE, court=court, lease=lease)
    return bool(row and row["was_away"])
