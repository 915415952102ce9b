"""The breaker of each court: who answers nothing but 502, 503, 504 or silence counts as away.

A court that is away gets one probe at growing intervals; what waits for it burns no attempt. Any
other answer ends that. A document whose own first failure is older than the court's last sign of
life says nothing about the court: it is the document that is broken, and its attempts count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
