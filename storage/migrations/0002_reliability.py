"""Receivers told apart, the log of webhook attempts, paused spools, and objects swept.

Only adds: processes of the release before still run while this is applied.
"""

from typing import Any

SCHEMA = """
-- scheme://host:port of the URL: how many deliveries one receiver has at once is counted by it.
ALTER TABLE webhooks ADD COLUMN receiver text NOT NULL DEFAULT '';
UPDATE webhooks SET receiver = substring(url FROM '^[^/]*//[^/?#]*');
-- Attempts made before the present delivery began: RedeliverWebhook begins the schedule anew.
ALTER TABLE webhooks ADD COLUMN earlier_attempt_count integer NOT NULL DEFAULT 0;
CREATE INDEX webhooks_busy ON webhooks (receiver) WHERE lease IS NOT NULL;
CREATE INDEX webhooks_queue ON webhooks (receiver, next_attempt_time) WHERE state = 'PENDING';

CREATE TABLE webhook_attempts (
    webhook_id text NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt_time timestamptz NOT NULL,
    status_code integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    PRIMARY KEY (webhook_id, number)
);
CREATE INDEX webhook_attempts_of_job ON webhook_attempts (job_id);

-- How often in a row the portal asked for a pause instead of listing.
ALTER TABLE jobs ADD COLUMN listing_pause_count integer NOT NULL DEFAULT 0;

CREATE INDEX webhooks_of_event ON webhooks (event_id) WHERE event_id IS NOT NULL;

-- Why a spool takes no more files; empty while it does.
ALTER TABLE spools ADD COLUMN trouble text NOT NULL DEFAULT '';

-- Objects that no row named and that were deleted: an upload of the same moment must know.
CREATE TABLE swept_objects (
    object_key text PRIMARY KEY,
    sweep_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""


def up(_migrator: Any, db: Any) -> None:
    """Adds what is new; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
