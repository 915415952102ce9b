"""What the claim of a slice needs: slice tokens, workers with their heartbeat, the leader."""

from typing import Any

SCHEMA = """
-- The slice that requests the document; slots are held under the same token.
ALTER TABLE documents ADD COLUMN slice uuid;
ALTER TABLE slots ADD COLUMN job_id uuid;

-- A worker process that takes proposals, while its heartbeat is young.
CREATE TABLE workers (
    worker_id uuid PRIMARY KEY,
    heartbeat_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- How many slices it can work on at once; 0 while it stops, or cannot take any.
    threads integer NOT NULL CONSTRAINT workers_threads CHECK (threads >= 0),
    -- Slices that have begun and are not recorded yet.
    busy_slices integer NOT NULL DEFAULT 0 CONSTRAINT workers_busy CHECK (busy_slices >= 0),
    takes_files boolean NOT NULL DEFAULT true
);

-- The scheduler that leads, in one row.
CREATE TABLE scheduler (
    is_only boolean PRIMARY KEY DEFAULT true CONSTRAINT scheduler_one CHECK (is_only),
    holder uuid,
    lease_until timestamptz,
    -- When its last write to Valkey went through.
    sends_time timestamptz,
    CONSTRAINT scheduler_lease CHECK ((holder IS NULL) = (lease_until IS NULL))
);
INSERT INTO scheduler DEFAULT VALUES;
CREATE INDEX jobs_running_by_key ON jobs (job_id) WHERE state IN ('PENDING', 'PROCESSING');
"""


def up(_migrator: Any, db: Any) -> None:
    """Add what is new; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
