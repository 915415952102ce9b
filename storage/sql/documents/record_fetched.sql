-- Record complete and checked files as DOWNLOADED.
--
-- The arrays have one element for each file, which is in the spool of its claim.
-- _slot_tokens has the tokens that hold slots of answered requests. _waits: see lock_jobs.
-- Returns a row for each file, by its lease: RECORDED (now, or by a call before that lost its
-- answer), BUSY (another transaction holds the job: nothing is recorded yet) or LOST (the claim is
-- over). Then one row ANSWERED: see portal_answered.
CREATE FUNCTION autos_record_fetched(
    _job_ids uuid[],
    _document_ids uuid[],
    _leases uuid[],
    _slot_tokens uuid[],
    _sizes_bytes bigint[],
    _sha256s text[],
    _content_types text[],
    _extensions text[],
    _waits boolean
) RETURNS TABLE (
    outcome text,
    lease uuid,
    job_id uuid,
    revision bigint
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
    recorded uuid[] := '{}';
BEGIN
    SELECT locked FROM autos_lock_jobs(_job_ids, _waits) INTO locked_jobs;
    outcome := 'RECORDED';
    FOR lease, job_id, revision IN
        WITH given AS MATERIALIZED (
            SELECT * FROM unnest(_job_ids, _document_ids, _leases, _sizes_bytes, _sha256s,
                    _content_types, _extensions)
                AS given(job_id, document_id, lease, size_bytes, sha256, content_type, extension)
            WHERE given.job_id = ANY(locked_jobs)
        ), held AS MATERIALIZED (
            SELECT given.*,
                jobs.revision + row_number() OVER (PARTITION BY given.job_id) AS next_revision
            FROM given JOIN jobs ON jobs.job_id = given.job_id
            CROSS JOIN LATERAL (SELECT job_id, document_id, state FROM documents
                WHERE documents.lease = given.lease LIMIT 1) AS document
            WHERE document.job_id = given.job_id AND document.document_id = given.document_id
                AND document.state = 'DOWNLOADING'
        ), moved AS (
            UPDATE documents SET state = 'DOWNLOADED', revision = held.next_revision,
                lease_until = NULL, slice = NULL, slice_size = NULL, not_before = NULL,
                attempt_count = attempt_count + 1, pause_count = 0, failing_since = NULL,
                size_bytes = held.size_bytes, sha256 = held.sha256,
                content_type = held.content_type, extension = held.extension
            -- By its lease only: with the state, PostgreSQL may read every row that is in a lane.
            FROM held WHERE documents.lease = held.lease
            RETURNING held.lease, held.job_id, held.next_revision
        ), advanced AS (
            UPDATE jobs SET revision = last, update_time = clock_timestamp(),
                files_failing_since = NULL
            FROM (SELECT moved.job_id, max(next_revision) AS last FROM moved
                  GROUP BY moved.job_id) AS theirs
            WHERE jobs.job_id = theirs.job_id
        )
        SELECT moved.lease, moved.job_id, next_revision FROM moved
    LOOP
        recorded := recorded || lease;
        RETURN NEXT;
    END LOOP;
    IF cardinality(recorded) < cardinality(_leases) THEN
        RETURN QUERY SELECT CASE
                -- The answer to an earlier COMMIT was lost.
                WHEN given.job_id = ANY(locked_jobs) AND (SELECT state FROM documents
                    WHERE documents.lease = given.lease AND documents.job_id = given.job_id
                        AND documents.document_id = given.document_id) = 'DOWNLOADED'
                    THEN 'RECORDED'
                WHEN given.job_id <> ALL(locked_jobs) AND EXISTS (SELECT FROM jobs
                    WHERE jobs.job_id = given.job_id AND end_time IS NULL) THEN 'BUSY'
                ELSE 'LOST' END,
                given.lease, NULL::uuid, NULL::bigint
            FROM unnest(_job_ids, _document_ids, _leases) AS given(job_id, document_id, lease)
            WHERE given.lease <> ALL(recorded);
    END IF;
    outcome := 'ANSWERED';
    lease := NULL; job_id := NULL; revision := NULL;
    PERFORM autos_portal_answered(_slot_tokens);
    RETURN NEXT;
END
$body$;
