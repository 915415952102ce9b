"""The circuit breaker of each court: open while the court answers only 502, 503, 504 or nothing.

An unavailable court gets one probe at growing intervals. Requests that wait for the court do not
count as attempts. Any other answer closes the breaker. If a document began to fail before the
court's last good answer, the document is at fault, not the court, and its attempts count.

A breaker that only one client's requests opened stops only this client's requests. The next failure
of another client's request stops all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from peewee import SQL, Case, fn

from storage.models import Court
from storage.models.base import time_after
from storage.portal.outcomes import FailureEffect
from storage.postgres.database import Transaction

PROBE_FACTOR = 2
PROBE_CAP_S = 60.0


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """When a breaker opens, and how an unavailable court is probed.

    `burst`: consecutive failures, with no other answer between them, that open the breaker.
    `base_s`: seconds until the first probe; each further interval is twice as long. `patience_s`:
    seconds after which a probe requests the listing instead of a file, because the file itself may
    be the cause.
    """

    base_s: float = 5.0
    patience_s: float = 120.0
    burst: int = 4


def record_failure(
    transaction: Transaction, court: str, client: str, *, since: datetime, policy: ProbePolicy
) -> FailureEffect:
    """Count a failure of an item of `client` that failed `since`.

    If the breaker is open for the client, the effect has the time of the next probe.
    """
    now = fn.clock_timestamp()
    wait_s = fn.least(
        PROBE_CAP_S, policy.base_s * fn.power(PROBE_FACTOR, fn.least(Court.probe_count, 10))
    )
    counts_as_away = (Court.failure_count + 1 >= policy.burst) & Court.next_probe_time.is_null()
    is_silent = fn.coalesce(Court.alive_time, SQL("'-infinity'")) < since
    is_first = Court.failure_count == 0
    is_same = Court.failing_client == client
    stops_client = Court.failing_client.is_null() | is_same
    failing_s = fn.date_part("epoch", now - fn.greatest(Court.failing_since, since))
    row = transaction.fetch_one(
        Court.insert(court=court, failure_count=1, failing_since=now, failing_client=client)
        .on_conflict(
            conflict_target=[Court.court],
            update={
                Court.failure_count: Court.failure_count + 1,
                Court.failing_since: fn.coalesce(Court.failing_since, now),
                Court.failing_client: Case(None, [(is_first | is_same, client)]),
                Court.next_probe_time: Case(
                    None, [(counts_as_away, time_after(wait_s))], Court.next_probe_time
                ),
            },
            where=(Court.next_probe_time.is_null(False) & stops_client) | is_silent,
        )
        .returning(
            fn.date_part("epoch", Court.next_probe_time - now).alias("wait_s"),
            (failing_s > policy.patience_s).alias("is_long"),
            Court.failing_client.alias("client"),
        )
        .dicts()
    )
    if row is None or row["wait_s"] is None:
        return FailureEffect(failing_since=since)
    return FailureEffect(max(0.0, row["wait_s"]), row["is_long"], since, row["client"])
