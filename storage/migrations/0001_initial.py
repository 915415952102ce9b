"""The first schema: jobs, their documents, requests, ends, webhooks and spools.

What a row may look like stands here as CHECK constraints; which move is legal stands in
storage/states.py and in the WHERE of every UPDATE. Written as SQL because partial indexes and
constraints are the point of it.
"""

from typing import Any

SCHEMA = r"""
CREATE TABLE jobs (
    job_id uuid PRIMARY KEY,
    client text NOT NULL,
    process_number text NOT NULL
        CHECK (process_number ~ '^\d{7}-\d{2}\.\d{4}\.\d\.\d{2}\.\d{4}$'),
    state text NOT NULL CHECK (state IN ('PENDING', 'PROCESSING', 'COMPLETED',
        'PARTIALLY_COMPLETED', 'FAILED', 'CANCELLED')),
    run integer NOT NULL DEFAULT 1 CHECK (run > 0),
    revision bigint NOT NULL DEFAULT 1,
    total_documents integer CHECK (total_documents >= 0),
    completed_documents integer NOT NULL DEFAULT 0 CHECK (completed_documents >= 0),
    failed_documents integer NOT NULL DEFAULT 0 CHECK (failed_documents >= 0),
    cancelled_documents integer NOT NULL DEFAULT 0 CHECK (cancelled_documents >= 0),
    reused_documents integer NOT NULL DEFAULT 0 CHECK (reused_documents >= 0),
    stored_bytes bigint NOT NULL DEFAULT 0 CHECK (stored_bytes >= 0),
    secrecy_level integer,
    error_reason text,
    error_message text,
    error_is_retryable boolean,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    start_time timestamptz,
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    end_time timestamptz,
    expire_time timestamptz,
    deadline_time timestamptz NOT NULL,
    max_age_s double precision NOT NULL CHECK (max_age_s >= 0),
    listed_time timestamptz,
    listing_attempt_count integer NOT NULL DEFAULT 0,
    listing_lost_count integer NOT NULL DEFAULT 0,
    listing_not_before timestamptz,
    listing_lease uuid,
    listing_lease_until timestamptz,
    nudge_count integer NOT NULL DEFAULT 0,
    nudge_time timestamptz,
    CHECK ((state IN ('PENDING', 'PROCESSING')) = (end_time IS NULL)),
    CHECK ((state = 'PENDING') = (start_time IS NULL)),
    CHECK (completed_documents + failed_documents + cancelled_documents
        <= coalesce(total_documents, 0)),
    CHECK (reused_documents <= completed_documents),
    CHECK ((total_documents IS NULL) = (listed_time IS NULL)),
    CHECK ((listing_lease IS NULL) = (listing_lease_until IS NULL)),
    CHECK (listing_lease IS NULL OR (state = 'PROCESSING' AND listed_time IS NULL)),
    -- A CHECK that is null passes, so where a total may be missing it must not be compared.
    CHECK (state <> 'COMPLETED'
        OR (total_documents IS NOT NULL AND completed_documents = total_documents)),
    CHECK (state <> 'PARTIALLY_COMPLETED' OR (completed_documents > 0 AND failed_documents > 0
        AND total_documents IS NOT NULL
        AND completed_documents + failed_documents = total_documents)),
    CHECK (end_time IS NULL OR total_documents IS NULL
        OR completed_documents + failed_documents + cancelled_documents = total_documents),
    CHECK (state <> 'FAILED' OR completed_documents = 0),
    CHECK ((state = 'FAILED') = (error_reason IS NOT NULL)),
    CHECK ((error_reason IS NULL) = (error_message IS NULL)),
    CHECK ((error_reason IS NULL) = (error_is_retryable IS NULL))
);
-- One job of a case at a time; what StartDownload joins.
CREATE UNIQUE INDEX jobs_active ON jobs (client, process_number)
    WHERE state IN ('PENDING', 'PROCESSING');
CREATE INDEX jobs_newest ON jobs (client, create_time DESC, job_id DESC);
CREATE INDEX jobs_of_case ON jobs (client, process_number, create_time DESC, job_id DESC);
-- What the clock walks, in its order. No index holds update_time or revision: they change with
-- every document, and a change that touches no index is much cheaper.
CREATE INDEX jobs_running ON jobs (nudge_time NULLS FIRST)
    WHERE state IN ('PENDING', 'PROCESSING');

CREATE INDEX jobs_listing ON jobs (listing_lease) WHERE listing_lease IS NOT NULL;

CREATE TABLE documents (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    document_id uuid NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    name text NOT NULL,
    kind text NOT NULL,
    sequence integer NOT NULL,
    instance text NOT NULL,
    filed_local_time text NOT NULL,
    secrecy_level text NOT NULL,
    hrefs text[] NOT NULL,
    href_index integer NOT NULL DEFAULT 0 CHECK (href_index >= 0),
    listed_size_bytes bigint CHECK (listed_size_bytes >= 0),
    listed_content_type text,
    state text NOT NULL CHECK (state IN ('PENDING', 'DOWNLOADING', 'DOWNLOADED', 'AVAILABLE',
        'FAILED', 'CANCELLED')),
    revision bigint NOT NULL,
    attempt_count integer NOT NULL DEFAULT 0,
    href_attempt_count integer NOT NULL DEFAULT 0,
    pause_count integer NOT NULL DEFAULT 0,
    lost_lease_count integer NOT NULL DEFAULT 0,
    not_before timestamptz,
    lease uuid,
    lease_until timestamptz,
    spool_id uuid,
    content_type text,
    extension text,
    size_bytes bigint CHECK (size_bytes > 0),
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    object_key text,
    is_reused boolean NOT NULL DEFAULT false,
    error_reason text,
    error_message text,
    error_is_retryable boolean,
    PRIMARY KEY (job_id, document_id),
    UNIQUE (job_id, position),
    -- A claim lives from DOWNLOADING until the bucket has the file, and in no other state.
    CHECK ((state IN ('DOWNLOADING', 'DOWNLOADED')) = (lease IS NOT NULL)),
    CHECK ((lease IS NULL) = (spool_id IS NULL)),
    CHECK (lease IS NOT NULL OR lease_until IS NULL),
    CHECK (state <> 'DOWNLOADING' OR lease_until IS NOT NULL),
    CHECK (state = 'PENDING' OR not_before IS NULL),
    -- What is still to be fetched has a link to fetch it by.
    CHECK (state IN ('AVAILABLE', 'FAILED', 'CANCELLED') OR href_index < cardinality(hrefs)),
    CHECK ((state IN ('DOWNLOADED', 'AVAILABLE')) = (sha256 IS NOT NULL)),
    CHECK ((sha256 IS NULL) = (size_bytes IS NULL)),
    CHECK ((sha256 IS NULL) = (content_type IS NULL)),
    CHECK ((sha256 IS NULL) = (extension IS NULL)),
    CHECK ((state = 'AVAILABLE') = (object_key IS NOT NULL)),
    CHECK (state <> 'FAILED' OR error_reason IS NOT NULL),
    CHECK (state <> 'AVAILABLE' OR error_reason IS NULL),
    CHECK ((error_reason IS NULL) = (error_message IS NULL)),
    CHECK ((error_reason IS NULL) = (error_is_retryable IS NULL)),
    CHECK (NOT is_reused OR state = 'AVAILABLE')
);
CREATE INDEX documents_ready ON documents (job_id, position) WHERE state = 'PENDING';
CREATE INDEX documents_in_lane ON documents (job_id)
    WHERE state IN ('DOWNLOADING', 'DOWNLOADED');
CREATE UNIQUE INDEX documents_lease ON documents (lease) WHERE lease IS NOT NULL;
CREATE INDEX documents_lease_until ON documents (lease_until) WHERE state = 'DOWNLOADING';
CREATE INDEX documents_spooled ON documents (spool_id) WHERE state = 'DOWNLOADED';
CREATE INDEX documents_changed ON documents (job_id, revision);
CREATE INDEX documents_stored ON documents (document_id) WHERE state = 'AVAILABLE';
CREATE INDEX documents_object ON documents (object_key) WHERE object_key IS NOT NULL;

-- Every StartDownload that carried a request_id, joins too.
CREATE TABLE requests (
    client text NOT NULL,
    request_id uuid NOT NULL,
    payload_sha256 text NOT NULL,
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (client, request_id)
);
CREATE INDEX requests_of_job ON requests (job_id);

-- One row per end of a run: what the webhooks tell, frozen.
CREATE TABLE events (
    event_id uuid PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    run integer NOT NULL,
    type text NOT NULL CHECK (type IN ('download.completed', 'download.partially_completed',
        'download.failed', 'download.cancelled')),
    event_time timestamptz NOT NULL,
    -- Null when the job had no webhook: nobody will be told.
    job jsonb,
    documents jsonb,
    UNIQUE (job_id, run)
);

CREATE TABLE webhooks (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    position integer NOT NULL,
    url text NOT NULL,
    state text NOT NULL CHECK (state IN ('WAITING', 'PENDING', 'DELIVERED', 'FAILED')),
    event_id uuid REFERENCES events,
    webhook_id text UNIQUE,
    attempt_count integer NOT NULL DEFAULT 0,
    last_status_code integer NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    delivered_time timestamptz,
    next_attempt_time timestamptz,
    lease uuid,
    lease_until timestamptz,
    nudge_count integer NOT NULL DEFAULT 0,
    nudge_time timestamptz,
    PRIMARY KEY (job_id, position),
    -- At most 2,048 ASCII characters, so it fits an index page.
    UNIQUE (job_id, url),
    CHECK ((state = 'WAITING') = (event_id IS NULL)),
    CHECK ((event_id IS NULL) = (webhook_id IS NULL)),
    CHECK ((state = 'PENDING') = (next_attempt_time IS NOT NULL)),
    CHECK ((state = 'DELIVERED') = (delivered_time IS NOT NULL)),
    CHECK ((lease IS NULL) = (lease_until IS NULL)),
    CHECK (state = 'PENDING' OR lease IS NULL)
);
CREATE INDEX webhooks_due ON webhooks (next_attempt_time) WHERE state = 'PENDING';

-- A spool is alive while its uploader says so.
CREATE TABLE spools (
    spool_id uuid PRIMARY KEY,
    heartbeat_time timestamptz NOT NULL
);
"""


def up(_migrator: Any, db: Any) -> None:
    """Creates everything; the caller holds the transaction and the advisory lock."""
    db.execute_sql(SCHEMA)
