"""How long a request takes lately, per court: measured by all processes, kept in one place."""

from __future__ import annotations

from collections.abc import Mapping

from storage import sql
from storage.postgres.database import Database

# While there are fewer, each counts alike; later the newest counts most, by this much.
PLAIN_REQUESTS = 20
KEPT = 0.98
# A request of no time at all would have no place in the queue's sums.
LEAST_S = 0.001


def record_times(database: Database, measured: Mapping[str, tuple[float, int]]) -> None:
    """Add (seconds in all, requests) of each court to its moving average."""
    courts = list(measured)
    with database.transaction() as transaction:
        transaction.run(
            sql.statement("record_request_times"),
            plain=PLAIN_REQUESTS,
            kept=KEPT,
            least_s=LEAST_S,
            courts=courts,
            seconds=[measured[court][0] for court in courts],
            requests=[measured[court][1] for court in courts],
        )
