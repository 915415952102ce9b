-- Record files that are fetched whole and checked: DOWNLOADED.
--
-- The arrays have one element for each file. _slot_tokens: the token that holds the slots of its
-- request, NULL if the answer was noted before. _are_taken: the caller has the file in memory and
-- puts it, under a lease of _lease_s; any other file lies in a spool, in _spool_id if it is given.
-- _waits: see lock_jobs.
-- Returns a row for each file, by its lease: RECORDED with the time from which a sweep counts,
-- BUSY (another transaction holds the job: nothing is recorded yet) or LOST (the claim is over). A
-- file in a spool may be recorded twice. Then one row ANSWERED: see portal_answered.
CREATE FUNCTION autos_record_fetched(
    _job_ids uuid[],
    _document_ids uuid[],
    _leases uuid[],
    _slot_tokens uuid[],
    _sizes_bytes bigint[],
    _sha256s text[],
    _content_types text[],
    _extensions text[],
    _are_taken boolean[],
    _spool_id uuid,
    _lease_s double precision,
    _waits boolean
) RETURNS TABLE (
    outcome text,
    lease uuid,
    job_id uuid,
    revision bigint,
    take_time timestamptz,
    was_away boolean,
    growth integer
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
    -- The spool of what lies in none.
    nowhere CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    locked_jobs uuid[];
    recorded uuid[] := '{}';
BEGIN
    SELECT locked FROM autos_lock_jobs(_job_ids, _waits) INTO locked_jobs;
    outcome := 'RECORDED';
    FOR lease, job_id, revision, take_time IN
        WITH given AS MATERIALIZED (
            SELECT * FROM unnest(_job_ids, _document_ids, _leases, _sizes_bytes, _sha256s,
                    _content_types, _extensions, _are_taken)
                AS given(job_id, document_id, lease, size_bytes, sha256, content_type, extension,
                    is_taken)
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
                lease_until = CASE WHEN held.is_taken
                    THEN clock_timestamp() + _lease_s * interval '1 second' END,
                spool_id = CASE WHEN held.is_taken THEN nowhere ELSE documents.spool_id END,
                slice = NULL, attempt_count = attempt_count + 1, pause_count = 0,
                failing_since = NULL,
                size_bytes = held.size_bytes, sha256 = held.sha256,
                content_type = held.content_type, extension = held.extension
            -- By its lease only: with the state PostgreSQL may walk through all that is in a lane.
            FROM held WHERE documents.lease = held.lease
            RETURNING held.lease, held.job_id, held.next_revision
        ), advanced AS (
            UPDATE jobs SET revision = last, update_time = clock_timestamp(),
                files_failing_since = NULL
            FROM (SELECT moved.job_id, max(next_revision) AS last FROM moved
                  GROUP BY moved.job_id) AS theirs
            WHERE jobs.job_id = theirs.job_id
        )
        SELECT moved.lease, moved.job_id, next_revision, clock_timestamp() FROM moved
    LOOP
        recorded := recorded || lease;
        RETURN NEXT;
    END LOOP;
    IF cardinality(recorded) < cardinality(_leases) THEN
        -- It was recorded before: the answer to that COMMIT was lost. What was in memory lies in
        -- the spool by now.
        FOR lease IN
            UPDATE documents SET spool_id = coalesce(_spool_id, documents.spool_id),
                lease_until = CASE WHEN documents.spool_id <> nowhere THEN lease_until END
            FROM unnest(_job_ids, _document_ids, _leases, _are_taken)
                AS given(job_id, document_id, lease, is_taken)
            WHERE given.job_id = ANY(locked_jobs) AND NOT is_taken
                AND given.lease <> ALL(recorded)
                AND documents.lease = given.lease AND documents.job_id = given.job_id
                AND documents.document_id = given.document_id AND documents.state = 'DOWNLOADED'
            RETURNING documents.lease
        LOOP
            recorded := recorded || lease;
            job_id := NULL; revision := NULL; take_time := clock_timestamp();
            RETURN NEXT;
        END LOOP;
        RETURN QUERY SELECT CASE WHEN EXISTS (SELECT FROM jobs
                    WHERE jobs.job_id = given.job_id AND end_time IS NULL
                        AND jobs.job_id <> ALL(locked_jobs)) THEN 'BUSY' ELSE 'LOST' END,
                given.lease, NULL::uuid, NULL::bigint, NULL::timestamptz, NULL::boolean,
                NULL::integer
            FROM unnest(_job_ids, _leases) AS given(job_id, lease)
            WHERE given.lease <> ALL(recorded);
    END IF;
    outcome := 'ANSWERED';
    lease := NULL; job_id := NULL; revision := NULL; take_time := NULL;
    SELECT * FROM autos_portal_answered(_slot_tokens) INTO was_away, growth;
    RETURN NEXT;
END
$body$;
