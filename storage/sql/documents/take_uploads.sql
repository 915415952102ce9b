-- Take files that wait in a spool for their upload, each under a lease of _lease_s seconds.
--
-- The files of the claims in _woken_by come first, if they wait; then any others of _spool_id, up
-- to _most in all. Returns a row for each.
CREATE FUNCTION autos_take_uploads(
    _spool_id uuid,
    _woken_by uuid[],
    _most integer,
    _lease_s double precision
) RETURNS TABLE (
    lease uuid,
    document_id uuid,
    job_id uuid,
    client text,
    process_number text,
    name text,
    size_bytes bigint,
    sha256 text,
    content_type text,
    extension text,
    pause_count integer,
    take_time timestamptz,
    traceparent text
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $body$
#variable_conflict use_column
DECLARE
    tokens uuid[];
BEGIN
    -- No caller depends on a lease being flushed: a file with a lease lost in a crash is taken
    -- again.
    PERFORM set_config('synchronous_commit', 'off', true);
    tokens := ARRAY(SELECT waiting.lease
        FROM (SELECT DISTINCT unnest(_woken_by)) AS woken(lease)
        -- By its lease only: with the state, PostgreSQL may read every row that is in a lane.
        CROSS JOIN LATERAL (SELECT documents.lease, state, lease_until FROM documents
            WHERE documents.lease = woken.lease
            LIMIT 1 FOR UPDATE SKIP LOCKED) AS waiting
        WHERE state = 'DOWNLOADED' AND (lease_until IS NULL OR lease_until < clock_timestamp())
        LIMIT _most);
    IF cardinality(tokens) < _most THEN
        tokens := tokens || ARRAY(SELECT documents.lease FROM documents
            WHERE documents.spool_id = _spool_id AND documents.state = 'DOWNLOADED'
                AND (lease_until IS NULL OR lease_until < clock_timestamp())
                AND documents.lease <> ALL(tokens)
            LIMIT _most - cardinality(tokens) FOR UPDATE SKIP LOCKED);
    END IF;
    IF tokens = '{}' THEN RETURN; END IF;
    RETURN QUERY UPDATE documents
        SET lease_until = clock_timestamp() + _lease_s * interval '1 second'
        FROM unnest(tokens) AS taken(lease), jobs
        WHERE documents.lease = taken.lease AND jobs.job_id = documents.job_id
        RETURNING documents.lease, documents.document_id, documents.job_id, jobs.client,
            jobs.process_number, documents.name, documents.size_bytes, documents.sha256,
            documents.content_type, documents.extension, documents.pause_count,
            clock_timestamp(), jobs.traceparent;
END
$body$;
