-- Renew the leases of a process for _lease_s seconds: documents, listings and slots, by their
-- tokens.
--
-- Rows that another transaction has locked are skipped, and renewed next time: waiting for several
-- rows without the jobs' locks could deadlock. A file that waits for its upload (its lease has no
-- end) stays free to be taken.
-- Returns the tokens under which a document, a listing, or the slot of a slice is still held.
CREATE FUNCTION autos_renew_leases(
    _leases uuid[],
    _lease_s double precision
) RETURNS TABLE (lease uuid)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $body$
#variable_conflict use_column
BEGIN
    UPDATE documents SET lease_until = clock_timestamp() + _lease_s * interval '1 second'
    WHERE lease = ANY(ARRAY(SELECT lease FROM documents
        WHERE lease = ANY(_leases) AND lease_until IS NOT NULL FOR UPDATE SKIP LOCKED));
    UPDATE jobs SET listing_lease_until = clock_timestamp() + _lease_s * interval '1 second'
    WHERE listing_lease = ANY(ARRAY(SELECT listing_lease FROM jobs
        WHERE listing_lease = ANY(_leases) FOR UPDATE SKIP LOCKED));
    UPDATE slots SET lease_until = clock_timestamp() + _lease_s * interval '1 second'
    FROM (SELECT scope, number, lease FROM slots WHERE lease = ANY(_leases)
          FOR UPDATE SKIP LOCKED) AS held
    WHERE slots.lease = held.lease AND slots.scope = held.scope;
    RETURN QUERY SELECT lease FROM documents WHERE lease = ANY(_leases)
        UNION ALL SELECT listing_lease FROM jobs WHERE listing_lease = ANY(_leases)
        -- The slot of a slice or of a probe. Only the job's row holds a listing.
        UNION ALL SELECT lease FROM slots WHERE scope = '' AND lease = ANY(_leases)
            AND EXISTS (SELECT FROM jobs
                WHERE jobs.job_id = slots.job_id AND listed_time IS NOT NULL);
END
$body$;
