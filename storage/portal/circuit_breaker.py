"""The breaker of each court: who answers nothing but 502, 503, 504 or silence counts as away.

A court that is away gets one probe at growing intervals; what waits for it burns no attempt. Any
other answer ends that. A document whose own first failure is older than the court's last sign of
life says nothing about the court: it is the document that is broken, and its attempts count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from peewee import SQL, Case, fn

from storage.models import Court
from storage.models.base import time_after
from storage.postgres.database import Transaction

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


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """A court that is away: seconds until its next probe, and whether patience with it is over."""

    wait_s: float
    is_long: bool


def record_failure(
    transaction: Transaction, court: str, *, since: datetime, policy: ProbePolicy
) -> OpenCircuit | None:
    """Count a failure of something that has been failing `since`. None: the court is not away."""
    now = fn.clock_timestamp()
    wait_s = fn.least(
        PROBE_CAP_S, policy.base_s * fn.power(PROBE_FACTOR, fn.least(Court.probe_count, 10))
    )
    counts_as_away = (Court.failure_count + 1 >= policy.burst) & Court.next_probe_time.is_null()
    is_silent = fn.coalesce(Court.alive_time, SQL("'-infinity'")) < since
    failing_s = fn.date_part("epoch", now - fn.greatest(Court.failing_since, since))
    row = transaction.fetch_one(
        Court.insert(court=court, failure_count=1, failing_since=now)
        .on_conflict(
            conflict_target=[Court.court],
            update={
                Court.failure_count: Court.failure_count + 1,
                Court.failing_since: fn.coalesce(Court.failing_since, now),
                Court.next_probe_time: Case(
                    None, [(counts_as_away, time_after(wait_s))], Court.next_probe_time
                ),
            },
            where=Court.next_probe_time.is_null(False) | is_silent,
        )
        .returning(
            fn.date_part("epoch", Court.next_probe_time - now).alias("wait_s"),
            (failing_s > policy.patience_s).alias("is_long"),
        )
        .dicts()
    )
    if row is None or row["wait_s"] is None:
        return None
    return OpenCircuit(max(0.0, row["wait_s"]), row["is_long"])
