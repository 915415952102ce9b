-- Record files that the bucket holds as AVAILABLE, and end the jobs with all of their files in it.
--
-- The arrays have one element for each file: a file from the spool, or a fresh one that no row
-- records as fetched yet. _slot_tokens has the tokens that hold slots of answered requests.
-- _take_times: a file is LOST if a sweep deleted its object after this time. _waits: see lock_jobs.
-- Returns a row for each file, by its lease: RECORDED, BUSY (another transaction holds the job or
-- the key: nothing is recorded yet) or LOST (the claim or the object is gone). Then rows JOB_ENDED,
-- with the due webhooks, and one ANSWERED: see portal_answered.
CREATE FUNCTION autos_record_stored(
    _job_ids uuid[],
    _document_ids uuid[],
    _leases uuid[],
    _slot_tokens uuid[],
    _sizes_bytes bigint[],
    _sha256s text[],
    _content_types text[],
    _extensions text[],
    _object_keys text[],
    _take_times timestamptz[],
    _waits boolean
) RETURNS TABLE (
    outcome text,
    lease uuid,
    job_id uuid,
    revision bigint,
    end_state text,
    due_webhooks integer[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET lock_timeout = '250ms'
AS $body$
#variable_conflict use_column
DECLARE
    locked_jobs uuid[];
    locked_keys text[];
    recorded uuid[] := '{}';
    jobs_over uuid[] := '{}';
    is_over boolean;
BEGIN
    SELECT locked FROM autos_lock_jobs(_job_ids, _waits) INTO locked_jobs;
    -- A sweep holds the key of each object that it deletes. The key is locked here, so that the
    -- next statement sees the sweep's earlier records.
    IF _waits THEN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended(key, 0))
        FROM (SELECT DISTINCT unnest(_object_keys) AS key ORDER BY 1) AS given;
        locked_keys := _object_keys;
    ELSE
        locked_keys := ARRAY(SELECT key
            FROM (SELECT DISTINCT unnest(_object_keys) AS key ORDER BY 1) AS given
            WHERE pg_try_advisory_xact_lock_shared(hashtextextended(key, 0)));
    END IF;
    outcome := 'RECORDED';
    FOR lease, job_id, revision, is_over IN
        WITH given AS MATERIALIZED (
            SELECT * FROM unnest(_job_ids, _document_ids, _leases, _sizes_bytes, _sha256s,
                    _content_types, _extensions, _object_keys, _take_times)
                AS given(job_id, document_id, lease, size_bytes, sha256, content_type, extension,
                    object_key, take_time)
            WHERE given.job_id = ANY(locked_jobs) AND given.object_key = ANY(locked_keys)
        ), held AS MATERIALIZED (
            SELECT given.*, document.state = 'DOWNLOADING' AS is_fresh,
                jobs.revision + row_number() OVER (PARTITION BY given.job_id) AS next_revision,
                -- Looked up once for each file, in whatever order PostgreSQL joins the rest.
                NOT EXISTS (SELECT FROM swept_objects
                    WHERE swept_objects.object_key = given.object_key
                        AND sweep_time >= given.take_time) AS is_there
            FROM given JOIN jobs ON jobs.job_id = given.job_id
            CROSS JOIN LATERAL (SELECT job_id, document_id, state FROM documents
                WHERE documents.lease = given.lease LIMIT 1) AS document
            WHERE document.job_id = given.job_id AND document.document_id = given.document_id
                AND document.state IN ('DOWNLOADED', 'DOWNLOADING')
        ), moved AS (
            UPDATE documents SET state = 'AVAILABLE', revision = held.next_revision,
                lease = NULL, lease_until = NULL, spool_id = NULL, slice = NULL,
                slice_size = NULL, not_before = NULL,
                object_key = held.object_key, size_bytes = held.size_bytes,
                sha256 = held.sha256, content_type = held.content_type,
                extension = held.extension,
                error_reason = NULL, error_message = NULL, error_is_retryable = NULL,
                attempt_count = attempt_count + held.is_fresh::integer,
                pause_count = CASE WHEN held.is_fresh THEN 0 ELSE pause_count END,
                failing_since = CASE WHEN held.is_fresh THEN NULL ELSE failing_since END
            -- By its lease only: with the state, PostgreSQL may read every row that is in a lane.
            FROM held WHERE documents.lease = held.lease AND held.is_there
            RETURNING held.lease, held.job_id, held.next_revision, held.size_bytes, held.is_fresh
        ), advanced AS (
            UPDATE jobs SET revision = last, update_time = clock_timestamp(),
                completed_documents = completed_documents + documents,
                stored_bytes = stored_bytes + bytes,
                files_failing_since = CASE WHEN are_fresh THEN NULL ELSE files_failing_since END
            FROM (SELECT moved.job_id, max(next_revision) AS last, count(*) AS documents,
                      sum(size_bytes) AS bytes, bool_or(is_fresh) AS are_fresh
                  FROM moved GROUP BY moved.job_id) AS theirs
            WHERE jobs.job_id = theirs.job_id
            RETURNING jobs.job_id, completed_documents + failed_documents + cancelled_documents
                + skipped_documents >= total_documents AS is_over
        )
        SELECT moved.lease, moved.job_id, next_revision, advanced.is_over
        FROM moved JOIN advanced ON advanced.job_id = moved.job_id
    LOOP
        recorded := recorded || lease;
        IF is_over AND job_id <> ALL(jobs_over) THEN
            jobs_over := jobs_over || job_id;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF cardinality(recorded) < cardinality(_leases) THEN
        RETURN QUERY SELECT CASE WHEN EXISTS (SELECT FROM jobs
                    WHERE jobs.job_id = given.job_id AND end_time IS NULL
                        AND (jobs.job_id <> ALL(locked_jobs)
                            OR given.object_key <> ALL(locked_keys))) THEN 'BUSY' ELSE 'LOST' END,
                given.lease, NULL::uuid, NULL::bigint, NULL, NULL::integer[]
            FROM unnest(_job_ids, _leases, _object_keys) AS given(job_id, lease, object_key)
            WHERE given.lease <> ALL(recorded);
    END IF;
    lease := NULL;
    outcome := 'JOB_ENDED';
    FOREACH job_id IN ARRAY jobs_over LOOP
        SELECT ended.state, ended.revision, ended.due_webhooks
        FROM autos_end_job(job_id, NULL, NULL, NULL, NULL) AS ended
        INTO end_state, revision, due_webhooks;
        RETURN NEXT;
    END LOOP;
    outcome := 'ANSWERED';
    job_id := NULL; revision := NULL; end_state := NULL; due_webhooks := NULL;
    PERFORM autos_portal_answered(_slot_tokens);
    RETURN NEXT;
END
$body$;
