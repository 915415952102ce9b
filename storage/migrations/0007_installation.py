"""The installation, as the bucket names it too, and the objects that a sweep may delete.

Only adds: processes of the release before still run while this is applied.
"""

from typing import Any

SCHEMA = """
-- One row, made by `release`. The bucket holds installation_id in its mark, and beat beside it.
CREATE TABLE installation (
    is_only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT installation_is_one CHECK (is_only_row),
    installation_id uuid NOT NULL,
    -- Grows by one a minute, here first and then in the bucket: a bucket that is ahead shows that
    -- this database was restored.
    beat bigint NOT NULL DEFAULT 0 CONSTRAINT installation_beat_grows CHECK (beat >= 0),
    -- By the clock of S3. What the bucket held by then may have lost its rows: it stays.
    adopt_time timestamptz,
    -- How many objects without a row an operator lets the next sweep delete.
    sweep_allowance bigint NOT NULL DEFAULT 0
        CONSTRAINT installation_allowance_counts CHECK (sweep_allowance >= 0),
    -- Why database and bucket do not belong together; empty while they do.
    bucket_trouble text NOT NULL DEFAULT '',
    -- Why the last sweep stopped; empty if it did not.
    sweep_trouble text NOT NULL DEFAULT ''
);

-- Objects that no row named when a sweep looked. A later sweep deletes those that it finds again.
CREATE TABLE sweep_candidates (
    object_key text PRIMARY KEY,
    find_time timestamptz NOT NULL,
    see_time timestamptz NOT NULL,
    CONSTRAINT sweep_candidates_seen_since_found CHECK (see_time >= find_time)
);
"""


def up(_migrator: Any, db: Any) -> None:
    """Adds what is new; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
