"""The recent duration of a request, per court: all processes measure, one table has the average."""

from __future__ import annotations

from collections.abc import Mapping

from storage import sql
from storage.postgres.database import Database

# With fewer requests, each counts alike; later the newest counts most, by this factor.
PLAIN_REQUESTS = 20
KEPT = 0.98
# A duration of zero would break the sums of the queue.
LEAST_S = 0.001


def record_times(database: Database, measured: Mapping[str, tuple[float, int]]) -> None:
    """Add (seconds in all, requests) of each court to its moving average."""
    courts = list(measured)
    with database.autocommit() as transaction:
        transaction.run(
            sql.statement("record_request_times"),
            plain=PLAIN_REQUESTS,
            kept=KEPT,
            least_s=LEAST_S,
            courts=courts,
            seconds=[measured[court][0] for court in courts],
            requests=[measured[court][1] for court in courts],
        )
