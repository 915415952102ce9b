-- Give back documents of a slice before their requests began: PENDING, with the not_before of
-- before the claim. No attempt is counted, and the slot of the slice stays.
-- Returns a row for each document that was still held.
CREATE FUNCTION autos_return_documents(_job_id uuid, _leases uuid[])
RETURNS TABLE (job_id uuid, revision bigint, document_id uuid)
LANGUAGE plpgsql
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $body$
#variable_conflict use_column
DECLARE
    job jobs;
    returned integer := 0;
BEGIN
    SELECT * FROM jobs WHERE jobs.job_id = _job_id AND end_time IS NULL FOR UPDATE INTO job;
    IF NOT FOUND THEN RETURN; END IF;
    job_id := _job_id;
    FOR document_id, revision IN
        UPDATE documents SET state = 'PENDING', revision = job.revision + place,
            lease = NULL, lease_until = NULL, slice = NULL, slice_size = NULL, spool_id = NULL
        FROM unnest(_leases) WITH ORDINALITY AS given(lease, place)
        CROSS JOIN LATERAL (SELECT job_id, state FROM documents
            WHERE documents.lease = given.lease LIMIT 1) AS held
        -- By its lease only: with the state, PostgreSQL may read every row that is in a lane.
        WHERE documents.lease = given.lease AND held.job_id = _job_id
            AND held.state = 'DOWNLOADING'
        RETURNING documents.document_id, documents.revision
    LOOP
        returned := returned + 1;
        RETURN NEXT;
    END LOOP;
    IF returned > 0 THEN
        UPDATE jobs SET revision = job.revision + cardinality(_leases),
            update_time = clock_timestamp()
        WHERE jobs.job_id = _job_id;
    END IF;
END
$body$;
