"""Seats: how many jobs of a client run at once is held by a unique index.

Only adds: processes of the release before still run while this is applied. The jobs that they
start have no seat and are not counted.
"""

from typing import Any

SCHEMA = """
-- A number up to the client's limit; kept after the end, when it means nothing. Null: without.
ALTER TABLE jobs ADD COLUMN seat integer CHECK (seat > 0);
UPDATE jobs SET seat = numbered.seat FROM (
    SELECT job_id, row_number() OVER (PARTITION BY client ORDER BY create_time) AS seat
    FROM jobs WHERE state IN ('PENDING', 'PROCESSING')) AS numbered
WHERE jobs.job_id = numbered.job_id;
CREATE UNIQUE INDEX jobs_seats ON jobs (client, seat) WHERE state IN ('PENDING', 'PROCESSING');
"""


def up(_migrator: Any, db: Any) -> None:
    """Adds what is new; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
