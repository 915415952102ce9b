"""What makes Autos a good guest: slots, turns, pauses, courts, the token, and who listed what.

Only adds: processes of the release before still run while this is applied.
"""

from typing import Any

SCHEMA = """
ALTER TABLE jobs ADD COLUMN court text NOT NULL
    GENERATED ALWAYS AS (substr(process_number, 17, 4)) STORED;
ALTER TABLE jobs ADD COLUMN priority text NOT NULL DEFAULT 'NORMAL'
    CHECK (priority IN ('HIGH', 'NORMAL', 'BULK'));
-- Since when it has had nothing but 502, 503, 504 or silence; null after any other answer.
ALTER TABLE jobs ADD COLUMN listing_failing_since timestamptz;
-- Since when its files fail although its court answers for its listing; null after a good file.
ALTER TABLE jobs ADD COLUMN files_failing_since timestamptz;
ALTER TABLE documents ADD COLUMN failing_since timestamptz;
-- Documents of the listing before that this one does not have.
ALTER TABLE jobs ADD COLUMN vanished_documents integer NOT NULL DEFAULT 0
    CHECK (vanished_documents >= 0);
ALTER TABLE jobs ADD COLUMN vanished_document_ids uuid[] NOT NULL DEFAULT '{}';
-- idOrigem, so that a listing can serve another client, for whom document_id is another.
ALTER TABLE documents ADD COLUMN origin_id text;
CREATE INDEX jobs_listed ON jobs (process_number, listed_time) WHERE listed_time IS NOT NULL;
-- The job whose listing is taken over; null: the portal is asked, for one job of a case at a time.
ALTER TABLE jobs ADD COLUMN listed_by uuid;
-- Since when its listing is in doubt, because an answer lacked documents that an earlier one had:
-- the next answer is taken, whatever it says.
ALTER TABLE jobs ADD COLUMN listing_doubt_time timestamptz;
-- When RetryJob began the present run; null in the first run, which create_time begins.
ALTER TABLE jobs ADD COLUMN rerun_time timestamptz;
CREATE INDEX jobs_unlisted ON jobs (process_number)
    WHERE listed_time IS NULL AND end_time IS NULL;

-- What is tried again is looked for by its time, what is fresh by its place in the case file.
CREATE INDEX documents_fresh ON documents (job_id, position)
    WHERE state = 'PENDING' AND not_before IS NULL;
CREATE INDEX documents_due ON documents (job_id, not_before)
    WHERE state = 'PENDING' AND not_before IS NOT NULL;

-- One row per request that may be at the portal at once: scope '' is the portal, else a court.
-- A request holds one of each under its claim's token, and as long as the claim's lease.
CREATE TABLE slots (
    scope text NOT NULL,
    number integer NOT NULL CHECK (number >= 0),
    lease uuid,
    lease_until timestamptz,
    taken_time timestamptz,
    PRIMARY KEY (scope, number),
    CHECK ((lease IS NULL) = (lease_until IS NULL)),
    CHECK ((lease IS NULL) = (taken_time IS NULL))
);
CREATE UNIQUE INDEX slots_lease ON slots (lease, scope) WHERE lease IS NOT NULL;

-- Whose turn it is: a running job for each row. pass is the time at the portal, in seconds, that
-- the job has had for its weight; the smallest of a client is next.
CREATE TABLE turns (
    job_id uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    client text NOT NULL,
    court text NOT NULL,
    is_bulk boolean NOT NULL,
    weight double precision NOT NULL CHECK (weight > 0),
    pass double precision NOT NULL,
    -- Of equals the one that came first.
    number bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX turns_next ON turns (client, is_bulk, pass, number);

-- The same among clients. served_at is the pass at which the client was last served, jobs_at the
-- one at which a job of it was: whoever comes, or comes back, begins there and is owed nothing.
CREATE TABLE shares (
    client text NOT NULL,
    is_bulk boolean NOT NULL,
    pass double precision NOT NULL DEFAULT 0,
    served_at double precision NOT NULL DEFAULT 0,
    jobs_at double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (client, is_bulk)
);

-- The portal as a whole, in one row.
CREATE TABLE portal (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    -- Nothing is asked before.
    paused_until timestamptz NOT NULL DEFAULT '-infinity',
    pause_time timestamptz NOT NULL DEFAULT '-infinity',
    pause_count integer NOT NULL DEFAULT 0,
    -- The last good answer of a slow start: it shows that others are given what they ask for.
    good_time timestamptz NOT NULL DEFAULT '-infinity',
    -- After a pause: how many requests at once, growing fast up to half of what there were, then
    -- slowly up to what is set. Null: as many as are set.
    eased double precision CHECK (eased >= 1),
    eased_fast_to double precision,
    eased_to integer,
    -- For PDPJ_MAX_PER_MINUTE: when the next request may begin.
    next_request_time timestamptz NOT NULL DEFAULT '-infinity',
    wake_time timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO portal DEFAULT VALUES;

CREATE TABLE courts (
    court text PRIMARY KEY,
    -- Seconds that a request took lately, as a moving average.
    request_s double precision NOT NULL DEFAULT 0.5 CHECK (request_s > 0),
    measured_requests bigint NOT NULL DEFAULT 0,
    -- 502, 503, 504 or silence, this often in a row.
    failure_count integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    alive_time timestamptz,
    -- Not null: the court counts as away, and one probe may be sent from then on.
    next_probe_time timestamptz,
    probe_count integer NOT NULL DEFAULT 0
);

-- The portal's token, by the login that it was got with. Tokens are encrypted; of what is
-- configured there are fingerprints only.
CREATE TABLE logins (
    -- Kind, address and client; and, where there is one, a fingerprint of the configured token that
    -- what is stored here descends from.
    login_key text PRIMARY KEY,
    generation bigint NOT NULL DEFAULT 0,
    access_token text,
    -- From then on a newer one is fetched, a minute before the end.
    access_refresh_time timestamptz,
    access_expires_time timestamptz,
    refresh_token text,
    -- Whoever holds it is the only one that logs in.
    lease uuid,
    lease_until timestamptz,
    -- Nobody logs in before: not often in a row, and after failures seldom.
    next_login_time timestamptz,
    failure_count integer NOT NULL DEFAULT 0,
    -- Refused: not tried again before, unless what is configured has another fingerprint.
    refused_until timestamptz,
    refused_fingerprint text,
    refused_reason text,
    -- The case that was answered 401, while no good answer has come since.
    doubtful_case text,
    doubt_time timestamptz,
    CHECK ((lease IS NULL) = (lease_until IS NULL)),
    CHECK ((access_token IS NULL) = (access_refresh_time IS NULL)),
    CHECK ((access_token IS NULL) = (access_expires_time IS NULL)),
    CHECK ((refused_until IS NULL) = (refused_fingerprint IS NULL)),
    CHECK ((refused_until IS NULL) = (refused_reason IS NULL)),
    CHECK ((doubtful_case IS NULL) = (doubt_time IS NULL))
);

INSERT INTO turns (job_id, client, court, is_bulk, weight, pass)
SELECT job_id, client, court, false, 1, 0 FROM jobs WHERE state IN ('PENDING', 'PROCESSING');
INSERT INTO shares (client, is_bulk) SELECT DISTINCT client, false FROM turns;
"""


def up(_migrator: Any, db: Any) -> None:
    """Adds what is new; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
