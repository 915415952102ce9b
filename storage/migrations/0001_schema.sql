-- The schema, printed from the models. The models document the columns and constraints.

CREATE TABLE batches (
    batch_id UUID NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    create_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    refused INTEGER,
    CONSTRAINT batches_refused CHECK (refused >= 0)
);

CREATE TABLE batch_items (
    batch_id UUID NOT NULL,
    place INTEGER NOT NULL,
    job_id UUID,
    is_new BOOLEAN NOT NULL DEFAULT false,
    refusal JSONB,
    PRIMARY KEY (batch_id, place),
    FOREIGN KEY (batch_id) REFERENCES batches (batch_id) ON DELETE CASCADE,
    CONSTRAINT batch_items_place CHECK (place >= 0),
    CONSTRAINT batch_items_one_result CHECK ((job_id IS NULL) <> (refusal IS NULL))
);

CREATE TABLE jobs (
    job_id UUID NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    process_number TEXT NOT NULL,
    court TEXT NOT NULL GENERATED ALWAYS AS (substr(process_number, 17, 4)) STORED,
    priority TEXT NOT NULL DEFAULT 'NORMAL',
    state TEXT NOT NULL,
    run INTEGER NOT NULL DEFAULT 1,
    revision BIGINT NOT NULL DEFAULT 1,
    seat INTEGER,
    total_documents INTEGER,
    completed_documents INTEGER NOT NULL DEFAULT 0,
    failed_documents INTEGER NOT NULL DEFAULT 0,
    cancelled_documents INTEGER NOT NULL DEFAULT 0,
    reused_documents INTEGER NOT NULL DEFAULT 0,
    skipped_documents INTEGER NOT NULL DEFAULT 0,
    vanished_documents INTEGER NOT NULL DEFAULT 0,
    vanished_document_ids UUID[] NOT NULL DEFAULT '{}',
    stored_bytes BIGINT NOT NULL DEFAULT 0,
    secrecy_level INTEGER,
    error_reason TEXT,
    error_message TEXT,
    error_is_retryable BOOLEAN,
    create_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    rerun_time TIMESTAMPTZ,
    start_time TIMESTAMPTZ,
    update_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    end_time TIMESTAMPTZ,
    expire_time TIMESTAMPTZ,
    deadline_time TIMESTAMPTZ NOT NULL,
    selections JSONB,
    unlisted_document_ids UUID[] NOT NULL DEFAULT '{}',
    labels JSONB NOT NULL DEFAULT '{}',
    not_before_time TIMESTAMPTZ,
    retention_s DOUBLE PRECISION,
    batch_id UUID,
    max_age_s DOUBLE PRECISION NOT NULL,
    refuses_sealed BOOLEAN NOT NULL DEFAULT false,
    listed_time TIMESTAMPTZ,
    listed_by UUID,
    documents_of UUID,
    listing_lease UUID,
    listing_lease_until TIMESTAMPTZ,
    listing_not_before TIMESTAMPTZ,
    listing_attempt_count INTEGER NOT NULL DEFAULT 0,
    listing_lost_count INTEGER NOT NULL DEFAULT 0,
    listing_pause_count INTEGER NOT NULL DEFAULT 0,
    listing_failing_since TIMESTAMPTZ,
    listing_doubt_time TIMESTAMPTZ,
    budget_wait_time TIMESTAMPTZ,
    budget_scope TEXT,
    files_failing_since TIMESTAMPTZ,
    is_look BOOLEAN NOT NULL DEFAULT false,
    traceparent TEXT,
    CONSTRAINT jobs_process_number CHECK (process_number ~
        '^\d{7}-\d{2}\.\d{4}\.\d\.\d{2}\.\d{4}$'),
    CONSTRAINT jobs_priority CHECK (priority IN ('HIGH', 'NORMAL', 'BULK')),
    CONSTRAINT jobs_state CHECK (state IN ('PENDING', 'PROCESSING', 'COMPLETED',
        'PARTIALLY_COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT jobs_run CHECK (run > 0),
    CONSTRAINT jobs_seat CHECK (seat <> 0),
    CONSTRAINT jobs_total_documents CHECK (total_documents >= 0),
    CONSTRAINT jobs_completed_documents CHECK (completed_documents >= 0),
    CONSTRAINT jobs_failed_documents CHECK (failed_documents >= 0),
    CONSTRAINT jobs_cancelled_documents CHECK (cancelled_documents >= 0),
    CONSTRAINT jobs_reused_documents CHECK (reused_documents >= 0),
    CONSTRAINT jobs_skipped_documents CHECK (skipped_documents >= 0),
    CONSTRAINT jobs_vanished_documents CHECK (vanished_documents >= 0),
    CONSTRAINT jobs_stored_bytes CHECK (stored_bytes >= 0),
    CONSTRAINT jobs_max_age_s CHECK (max_age_s >= 0),
    CONSTRAINT jobs_retention_s CHECK (retention_s > 0),
    CONSTRAINT jobs_traceparent CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'),
    CONSTRAINT jobs_running_has_no_end CHECK ((state IN ('PENDING', 'PROCESSING')) = (end_time IS
        NULL)),
    CONSTRAINT jobs_pending_has_no_start CHECK ((state = 'PENDING') = (start_time IS NULL)),
    CONSTRAINT jobs_ended_documents_within_total CHECK (completed_documents + failed_documents +
        cancelled_documents + skipped_documents <= coalesce(total_documents, 0)),
    CONSTRAINT jobs_reused_within_completed CHECK (reused_documents <= completed_documents),
    CONSTRAINT jobs_total_since_listing CHECK ((total_documents IS NULL) = (listed_time IS NULL)),
    CONSTRAINT jobs_listing_lease_has_end CHECK ((listing_lease IS NULL) = (listing_lease_until IS
        NULL)),
    CONSTRAINT jobs_listing_lease_before_listing CHECK (listing_lease IS NULL OR (state =
        'PROCESSING' AND listed_time IS NULL)),
    CONSTRAINT jobs_referring_is_complete CHECK (documents_of IS NULL OR state IN ('PROCESSING',
        'COMPLETED')),
    CONSTRAINT jobs_refers_to_another CHECK (documents_of <> job_id),
    CONSTRAINT jobs_budget_wait_has_scope CHECK ((budget_wait_time IS NULL) = (budget_scope IS
        NULL)),
    CONSTRAINT jobs_completed_has_all_documents CHECK (state <> 'COMPLETED' OR (total_documents IS
        NOT NULL AND completed_documents + skipped_documents = total_documents)),
    CONSTRAINT jobs_partially_completed_has_both CHECK (state <> 'PARTIALLY_COMPLETED' OR
        (completed_documents > 0 AND failed_documents > 0 AND total_documents IS NOT NULL AND
        completed_documents + failed_documents + skipped_documents = total_documents)),
    CONSTRAINT jobs_ended_has_ended_documents CHECK (end_time IS NULL OR total_documents IS NULL
        OR completed_documents + failed_documents + cancelled_documents + skipped_documents =
        total_documents),
    CONSTRAINT jobs_failed_has_no_completed CHECK (state <> 'FAILED' OR completed_documents = 0),
    CONSTRAINT jobs_failed_has_reason CHECK ((state = 'FAILED') = (error_reason IS NOT NULL)),
    CONSTRAINT jobs_reason_has_message CHECK ((error_reason IS NULL) = (error_message IS NULL)),
    CONSTRAINT jobs_reason_has_retryable CHECK ((error_reason IS NULL) = (error_is_retryable IS
        NULL)),
    FOREIGN KEY (documents_of) REFERENCES jobs (job_id)
);
CREATE UNIQUE INDEX jobs_active ON jobs (client, process_number)
    WHERE (state IN ('PENDING', 'PROCESSING') AND is_look = false);
CREATE UNIQUE INDEX jobs_looks ON jobs (client, process_number)
    WHERE (state IN ('PENDING', 'PROCESSING') AND is_look = true);
CREATE UNIQUE INDEX jobs_seats ON jobs (client, seat) WHERE (state IN ('PENDING', 'PROCESSING'));
CREATE INDEX jobs_newest ON jobs (client, create_time DESC, job_id DESC) WHERE is_look = false;
CREATE INDEX jobs_of_case ON jobs (client, process_number, create_time DESC, job_id DESC);
CREATE INDEX jobs_of_batch ON jobs (batch_id, create_time DESC, job_id DESC)
    WHERE batch_id IS NOT NULL;
CREATE INDEX jobs_began ON jobs (COALESCE(rerun_time, create_time))
    WHERE (state IN ('PENDING', 'PROCESSING'));
CREATE INDEX jobs_running_by_key ON jobs (job_id, end_time)
    WHERE (state IN ('PENDING', 'PROCESSING'));
CREATE INDEX jobs_documents_of ON jobs (documents_of) WHERE (documents_of IS NOT NULL);
CREATE INDEX jobs_listing ON jobs (listing_lease) WHERE (listing_lease IS NOT NULL);
CREATE INDEX jobs_listed ON jobs (process_number, listed_time) WHERE (listed_time IS NOT NULL);
CREATE INDEX jobs_unlisted ON jobs (process_number)
    WHERE ((listed_time IS NULL) AND (end_time IS NULL));
CREATE INDEX jobs_over_budget ON jobs (budget_scope)
    WHERE ((state IN ('PENDING', 'PROCESSING')) AND (budget_wait_time IS NOT NULL));

CREATE TABLE job_labels (
    job_id UUID NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    client TEXT NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (job_id, key),
    FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE
);
CREATE INDEX job_labels_newest ON job_labels (client, key, value, create_time DESC, job_id DESC);

CREATE TABLE requests (
    client TEXT NOT NULL,
    request_id UUID NOT NULL,
    payload_sha256 TEXT NOT NULL,
    job_id UUID,
    batch_id UUID,
    create_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (client, request_id),
    FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    FOREIGN KEY (batch_id) REFERENCES batches (batch_id) ON DELETE CASCADE,
    CONSTRAINT requests_one_target CHECK ((job_id IS NULL) <> (batch_id IS NULL))
);
CREATE INDEX requests_of_job ON requests (job_id);

CREATE TABLE documents (
    job_id UUID NOT NULL,
    document_id UUID NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    revision BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    instance TEXT NOT NULL,
    filed_local_time TEXT NOT NULL,
    secrecy_level TEXT NOT NULL,
    origin_id TEXT NOT NULL,
    hrefs TEXT[] NOT NULL,
    href_index INTEGER NOT NULL DEFAULT 0,
    listed_size_bytes BIGINT,
    listed_content_type TEXT,
    attempt_count INTEGER NOT NULL DEFAULT 0,
    href_attempt_count INTEGER NOT NULL DEFAULT 0,
    pause_count INTEGER NOT NULL DEFAULT 0,
    lost_lease_count INTEGER NOT NULL DEFAULT 0,
    failing_since TIMESTAMPTZ,
    not_before TIMESTAMPTZ,
    lease UUID,
    lease_until TIMESTAMPTZ,
    slice UUID,
    slice_size INTEGER,
    spool_id UUID,
    content_type TEXT,
    extension TEXT,
    size_bytes BIGINT,
    sha256 TEXT,
    object_key TEXT,
    doubted_sha256 TEXT,
    is_reused BOOLEAN NOT NULL DEFAULT false,
    error_reason TEXT,
    error_message TEXT,
    error_is_retryable BOOLEAN,
    PRIMARY KEY (job_id, document_id),
    FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    CONSTRAINT documents_position CHECK (position >= 0),
    CONSTRAINT documents_state CHECK (state IN ('PENDING', 'DOWNLOADING', 'DOWNLOADED',
        'AVAILABLE', 'FAILED', 'CANCELLED', 'SKIPPED')),
    CONSTRAINT documents_href_index CHECK (href_index >= 0),
    CONSTRAINT documents_listed_size_bytes CHECK (listed_size_bytes >= 0),
    CONSTRAINT documents_size_bytes CHECK (size_bytes > 0),
    CONSTRAINT documents_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT documents_doubted_sha256 CHECK (doubted_sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT documents_lease_while_in_lane CHECK ((state IN ('DOWNLOADING', 'DOWNLOADED')) =
        (lease IS NOT NULL)),
    CONSTRAINT documents_lease_has_spool CHECK ((lease IS NULL) = (spool_id IS NULL)),
    CONSTRAINT documents_lease_end_has_lease CHECK (lease IS NOT NULL OR lease_until IS NULL),
    CONSTRAINT documents_downloading_has_lease_end CHECK (state <> 'DOWNLOADING' OR lease_until IS
        NOT NULL),
    CONSTRAINT documents_slice_has_size CHECK ((slice IS NULL) = (slice_size IS NULL)),
    CONSTRAINT documents_not_before_until_answer CHECK (state IN ('PENDING', 'DOWNLOADING') OR
        not_before IS NULL),
    CONSTRAINT documents_fetchable_has_link CHECK (state IN ('AVAILABLE', 'FAILED', 'CANCELLED',
        'SKIPPED') OR href_index < cardinality(hrefs)),
    CONSTRAINT documents_file_has_hash CHECK ((state IN ('DOWNLOADED', 'AVAILABLE')) = (sha256 IS
        NOT NULL)),
    CONSTRAINT documents_hash_has_size CHECK ((sha256 IS NULL) = (size_bytes IS NULL)),
    CONSTRAINT documents_hash_has_content_type CHECK ((sha256 IS NULL) = (content_type IS NULL)),
    CONSTRAINT documents_hash_has_extension CHECK ((sha256 IS NULL) = (extension IS NULL)),
    CONSTRAINT documents_available_has_object CHECK ((state = 'AVAILABLE') = (object_key IS NOT
        NULL)),
    CONSTRAINT documents_failed_has_reason CHECK (state <> 'FAILED' OR error_reason IS NOT NULL),
    CONSTRAINT documents_available_has_no_reason CHECK (state <> 'AVAILABLE' OR error_reason IS
        NULL),
    CONSTRAINT documents_reason_has_message CHECK ((error_reason IS NULL) = (error_message IS
        NULL)),
    CONSTRAINT documents_reason_has_retryable CHECK ((error_reason IS NULL) = (error_is_retryable
        IS NULL)),
    CONSTRAINT documents_reused_is_available CHECK (NOT is_reused OR state = 'AVAILABLE')
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX documents_in_order ON documents (job_id, position);
CREATE INDEX documents_changed ON documents (job_id, revision);
CREATE INDEX documents_fresh ON documents (job_id, position)
    WHERE ((state = 'PENDING') AND (not_before IS NULL));
CREATE INDEX documents_due ON documents (job_id, not_before)
    WHERE ((state = 'PENDING') AND (not_before IS NOT NULL));
CREATE INDEX documents_in_lane ON documents (job_id)
    WHERE (state IN ('DOWNLOADING', 'DOWNLOADED'));
CREATE UNIQUE INDEX documents_lease ON documents (lease) WHERE (lease IS NOT NULL);
CREATE INDEX documents_spooled ON documents (spool_id) WHERE (state = 'DOWNLOADED');
CREATE INDEX documents_stored ON documents (document_id) WHERE (state = 'AVAILABLE');
CREATE INDEX documents_object ON documents (object_key) WHERE (object_key IS NOT NULL);

CREATE TABLE spools (
    spool_id UUID NOT NULL PRIMARY KEY,
    heartbeat_time TIMESTAMPTZ NOT NULL,
    trouble TEXT NOT NULL DEFAULT ''
);

CREATE TABLE swept_objects (
    object_key TEXT NOT NULL PRIMARY KEY,
    sweep_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE events (
    event_id UUID NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    number BIGINT,
    job_id UUID NOT NULL,
    run INTEGER NOT NULL,
    type TEXT NOT NULL,
    event_time TIMESTAMPTZ NOT NULL,
    job JSONB,
    documents JSONB,
    change JSONB,
    is_superseded BOOLEAN NOT NULL DEFAULT false,
    FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    CONSTRAINT events_type CHECK (type IN ('case.changed', 'download.cancelled',
        'download.completed', 'download.failed', 'download.partially_completed')),
    CONSTRAINT events_job_or_change CHECK ((job IS NULL) = (type = 'case.changed') AND (change IS
        NULL) = (job IS NOT NULL)),
    CONSTRAINT events_number CHECK (number > 0)
);
CREATE UNIQUE INDEX events_run ON events (job_id, run);
CREATE UNIQUE INDEX events_numbered ON events (client, number);
CREATE INDEX events_without_number ON events (client, event_time, event_id)
    WHERE (number IS NULL);
CREATE INDEX events_superseded ON events (event_time) WHERE is_superseded;

CREATE TABLE event_numbers (
    client TEXT NOT NULL PRIMARY KEY,
    last_number BIGINT NOT NULL DEFAULT 0,
    deleted_number BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT event_numbers_deleted CHECK (deleted_number BETWEEN 0 AND last_number)
);

CREATE TABLE webhooks (
    job_id UUID NOT NULL,
    position INTEGER NOT NULL,
    client TEXT NOT NULL DEFAULT '',
    url TEXT NOT NULL,
    receiver TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    event_id UUID,
    webhook_id TEXT,
    attempt_count INTEGER NOT NULL DEFAULT 0,
    earlier_attempt_count INTEGER NOT NULL DEFAULT 0,
    last_status_code INTEGER NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT '',
    delivered_time TIMESTAMPTZ,
    next_attempt_time TIMESTAMPTZ,
    lease UUID,
    lease_until TIMESTAMPTZ,
    nudge_count INTEGER NOT NULL DEFAULT 0,
    nudge_time TIMESTAMPTZ,
    PRIMARY KEY (job_id, position),
    FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    FOREIGN KEY (event_id) REFERENCES events (event_id),
    CONSTRAINT webhooks_state CHECK (state IN ('WAITING', 'PENDING', 'DELIVERED', 'FAILED')),
    CONSTRAINT webhooks_waiting_has_no_event CHECK ((state = 'WAITING') = (event_id IS NULL)),
    CONSTRAINT webhooks_event_has_webhook_id CHECK ((event_id IS NULL) = (webhook_id IS NULL)),
    CONSTRAINT webhooks_pending_has_next_attempt CHECK ((state = 'PENDING') = (next_attempt_time
        IS NOT NULL)),
    CONSTRAINT webhooks_delivered_has_time CHECK ((state = 'DELIVERED') = (delivered_time IS NOT
        NULL)),
    CONSTRAINT webhooks_lease_has_end CHECK ((lease IS NULL) = (lease_until IS NULL)),
    CONSTRAINT webhooks_lease_while_pending CHECK (state = 'PENDING' OR lease IS NULL)
);
CREATE UNIQUE INDEX webhooks_url ON webhooks (job_id, url) WHERE (position > -1);
CREATE UNIQUE INDEX webhooks_webhook_id ON webhooks (webhook_id);
CREATE INDEX webhooks_due ON webhooks (next_attempt_time) WHERE (state = 'PENDING');
CREATE INDEX webhooks_busy ON webhooks (client, receiver) WHERE (lease IS NOT NULL);
CREATE INDEX webhooks_queue ON webhooks (client, next_attempt_time) WHERE (state = 'PENDING');
CREATE INDEX webhooks_of_event ON webhooks (event_id) WHERE (event_id IS NOT NULL);

CREATE TABLE silent_receivers (
    client TEXT NOT NULL,
    receiver TEXT NOT NULL,
    PRIMARY KEY (client, receiver)
);

CREATE TABLE webhook_attempts (
    webhook_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    job_id UUID NOT NULL,
    attempt_time TIMESTAMPTZ NOT NULL,
    status_code INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (webhook_id, number),
    FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE,
    CONSTRAINT webhook_attempts_number CHECK (number > 0)
);
CREATE INDEX webhook_attempts_of_job ON webhook_attempts (job_id);

CREATE TABLE slots (
    scope TEXT NOT NULL,
    number INTEGER NOT NULL,
    lease UUID,
    lease_until TIMESTAMPTZ,
    taken_time TIMESTAMPTZ,
    job_id UUID,
    PRIMARY KEY (scope, number),
    CONSTRAINT slots_number CHECK (number >= 0),
    CONSTRAINT slots_lease_has_end CHECK ((lease IS NULL) = (lease_until IS NULL)),
    CONSTRAINT slots_lease_has_taken_time CHECK ((lease IS NULL) = (taken_time IS NULL))
);
CREATE UNIQUE INDEX slots_lease ON slots (lease, scope) WHERE (lease IS NOT NULL);

CREATE TABLE portal (
    is_only BOOLEAN NOT NULL PRIMARY KEY DEFAULT true,
    paused_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    paused_client TEXT,
    pause_time TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    pause_count INTEGER NOT NULL DEFAULT 0,
    good_time TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    eased DOUBLE PRECISION,
    eased_fast_to DOUBLE PRECISION,
    eased_to INTEGER,
    next_request_time TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    CONSTRAINT portal_is_only CHECK (is_only),
    CONSTRAINT portal_eased CHECK (eased >= 1)
);

CREATE TABLE courts (
    court TEXT NOT NULL PRIMARY KEY,
    request_s DOUBLE PRECISION NOT NULL DEFAULT 0.5,
    measured_requests BIGINT NOT NULL DEFAULT 0,
    failure_count INTEGER NOT NULL DEFAULT 0,
    failing_since TIMESTAMPTZ,
    failing_client TEXT,
    alive_time TIMESTAMPTZ,
    next_probe_time TIMESTAMPTZ,
    probe_count INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT courts_request_s CHECK (request_s > 0)
);

CREATE TABLE logins (
    login_key TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL DEFAULT 0,
    access_token TEXT,
    access_refresh_time TIMESTAMPTZ,
    access_expires_time TIMESTAMPTZ,
    refresh_token TEXT,
    lease UUID,
    lease_until TIMESTAMPTZ,
    next_login_time TIMESTAMPTZ,
    failure_count INTEGER NOT NULL DEFAULT 0,
    refused_until TIMESTAMPTZ,
    refused_fingerprint TEXT,
    refused_reason TEXT,
    refused_client TEXT,
    doubtful_case TEXT,
    doubtful_client TEXT,
    doubt_time TIMESTAMPTZ,
    CONSTRAINT logins_lease_has_end CHECK ((lease IS NULL) = (lease_until IS NULL)),
    CONSTRAINT logins_access_has_refresh_time CHECK ((access_token IS NULL) = (access_refresh_time
        IS NULL)),
    CONSTRAINT logins_access_has_expires_time CHECK ((access_token IS NULL) = (access_expires_time
        IS NULL)),
    CONSTRAINT logins_refusal_has_fingerprint CHECK ((refused_until IS NULL) =
        (refused_fingerprint IS NULL)),
    CONSTRAINT logins_refusal_has_reason CHECK ((refused_until IS NULL) = (refused_reason IS
        NULL)),
    CONSTRAINT logins_doubt_has_time CHECK ((doubtful_case IS NULL) = (doubt_time IS NULL))
);

CREATE TABLE workers (
    worker_id UUID NOT NULL PRIMARY KEY,
    heartbeat_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    threads INTEGER NOT NULL,
    takes_files BOOLEAN NOT NULL DEFAULT true,
    CONSTRAINT workers_threads CHECK (threads >= 0)
);

CREATE TABLE leader (
    is_only BOOLEAN NOT NULL PRIMARY KEY DEFAULT true,
    holder UUID,
    lease_until TIMESTAMPTZ,
    sends_time TIMESTAMPTZ,
    CONSTRAINT leader_is_only CHECK (is_only),
    CONSTRAINT leader_lease_has_end CHECK ((holder IS NULL) = (lease_until IS NULL))
);

CREATE TABLE installation (
    is_only_row BOOLEAN NOT NULL PRIMARY KEY DEFAULT true,
    installation_id UUID NOT NULL,
    beat BIGINT NOT NULL DEFAULT 0,
    adopt_time TIMESTAMPTZ,
    sweep_allowance BIGINT NOT NULL DEFAULT 0,
    bucket_trouble TEXT NOT NULL DEFAULT '',
    sweep_trouble TEXT NOT NULL DEFAULT '',
    CONSTRAINT installation_is_one CHECK (is_only_row),
    CONSTRAINT installation_beat_grows CHECK (beat >= 0),
    CONSTRAINT installation_allowance_counts CHECK (sweep_allowance >= 0)
);

CREATE TABLE sweep_candidates (
    object_key TEXT NOT NULL PRIMARY KEY,
    find_time TIMESTAMPTZ NOT NULL,
    see_time TIMESTAMPTZ NOT NULL,
    CONSTRAINT sweep_candidates_seen_since_found CHECK (see_time >= find_time)
);

CREATE TABLE service_refusals (
    part TEXT NOT NULL,
    operation TEXT NOT NULL,
    code TEXT NOT NULL,
    answer TEXT NOT NULL,
    since_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    see_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (part, operation),
    CONSTRAINT service_refusals_seen_since CHECK (see_time >= since_time)
);

CREATE TABLE requested_cases (
    case_hmac BYTEA NOT NULL PRIMARY KEY,
    court TEXT NOT NULL,
    request_time TIMESTAMPTZ NOT NULL
);
CREATE INDEX requested_cases_newest ON requested_cases (request_time);
CREATE INDEX requested_cases_of_court ON requested_cases (court, request_time);

CREATE TABLE case_secrecy (
    process_number TEXT NOT NULL PRIMARY KEY,
    sealed_time TIMESTAMPTZ,
    denied_time TIMESTAMPTZ
);

CREATE TABLE case_answers (
    client TEXT NOT NULL,
    process_number TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    listed_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    secrecy_level INTEGER,
    is_sealed BOOLEAN NOT NULL,
    data JSONB NOT NULL,
    content BYTEA,
    object_key TEXT,
    source_key TEXT,
    PRIMARY KEY (client, process_number, sha256),
    CONSTRAINT case_answers_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT case_answers_size_bytes CHECK (size_bytes > 0),
    CONSTRAINT case_answers_has_bytes CHECK (num_nonnulls(content, object_key, source_key) = 1)
);
CREATE INDEX case_answers_newest ON case_answers (client, process_number, listed_time DESC);
CREATE INDEX case_answers_without_object ON case_answers (listed_time) WHERE object_key IS NULL;

CREATE TABLE subscriptions (
    client TEXT NOT NULL,
    process_number TEXT NOT NULL,
    court TEXT NOT NULL GENERATED ALWAYS AS (substr(process_number, 17, 4)) STORED,
    interval_s INTEGER NOT NULL,
    webhook_url TEXT,
    receiver TEXT,
    selection JSONB,
    list_only BOOLEAN NOT NULL DEFAULT false,
    labels JSONB NOT NULL DEFAULT '{}',
    create_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    next_time TIMESTAMPTZ,
    last_job_id UUID,
    last_change_time TIMESTAMPTZ,
    paused_reason TEXT,
    failed_events INTEGER NOT NULL DEFAULT 0,
    baseline JSONB,
    PRIMARY KEY (client, process_number),
    CONSTRAINT subscriptions_process_number CHECK (process_number ~
        '^\d{7}-\d{2}\.\d{4}\.\d\.\d{2}\.\d{4}$'),
    CONSTRAINT subscriptions_interval_s CHECK (interval_s > 0),
    CONSTRAINT subscriptions_failed_events CHECK (failed_events >= 0),
    CONSTRAINT subscriptions_url_has_receiver CHECK ((webhook_url IS NULL) = (receiver IS NULL)),
    CONSTRAINT subscriptions_paused_has_no_next_time CHECK ((paused_reason IS NULL) = (next_time IS
        NOT NULL))
);
CREATE INDEX subscriptions_due ON subscriptions (next_time) WHERE next_time IS NOT NULL;

-- Each of these has one row.
INSERT INTO portal DEFAULT VALUES;
INSERT INTO leader DEFAULT VALUES;

CREATE TABLE webhook_tests (
    test_id UUID NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    url TEXT NOT NULL,
    receiver TEXT NOT NULL,
    create_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    lease_until TIMESTAMPTZ,
    attempt_time TIMESTAMPTZ,
    status_code INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    CONSTRAINT webhook_tests_one_attempt CHECK (lease_until IS NULL OR attempt_time IS NULL)
);
CREATE INDEX webhook_tests_busy ON webhook_tests (client) WHERE lease_until IS NOT NULL;
