"""How long a request takes lately, per court: measured by all processes, kept in one place."""

from __future__ import annotations

from collections.abc import Mapping

from storage.database import Database

# While there are fewer, each counts alike; later the newest counts most, by this much.
PLAIN_REQUESTS = 20
KEPT = 0.98
# A request of no time at all would have no place in the queue's sums.
LEAST_S = 0.001

_RECORD = f"""
INSERT INTO courts AS old (court, request_s, measured_requests)
SELECT court, greatest({LEAST_S}, seconds / requests), requests
FROM unnest(%(courts)s::text[], %(seconds)s::double precision[], %(requests)s::bigint[])
    AS measured (court, seconds, requests)
WHERE requests > 0 ORDER BY court  -- in one order, so that two of these cannot deadlock
ON CONFLICT (court) DO UPDATE SET
    request_s = old.request_s + (excluded.request_s - old.request_s)
        * CASE WHEN old.measured_requests < {PLAIN_REQUESTS}
            THEN excluded.measured_requests::double precision
                / (old.measured_requests + excluded.measured_requests)
            ELSE 1 - power({KEPT}::double precision, excluded.measured_requests) END,
    measured_requests = old.measured_requests + excluded.measured_requests
"""


def record_times(database: Database, measured: Mapping[str, tuple[float, int]]) -> None:
    """Adds (seconds in all, requests) of each court to its moving average."""
    courts = list(measured)
    with database.transaction() as transaction:
        transaction.run(
            _RECORD,
            courts=courts,
            seconds=[measured[court][0] for court in courts],
            requests=[measured[court][1] for court in courts],
        )
