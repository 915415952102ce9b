-- Have running jobs wait for their turns, in this order, each behind the others of its client. A
-- client that is new begins where the others are.
CREATE FUNCTION autos_enter_turns(
    _job_ids uuid[]
) RETURNS void
LANGUAGE plpgsql
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $body$
#variable_conflict use_column
BEGIN
    WITH job AS (
        SELECT job_id, client, court, priority, priority = 'BULK' AS is_bulk FROM jobs
        WHERE job_id = ANY(_job_ids)
    ), fresh AS (
        INSERT INTO shares (client, is_bulk, pass)
        SELECT DISTINCT client, is_bulk,
            (SELECT coalesce(max(served_at), 0) FROM shares WHERE shares.is_bulk = job.is_bulk)
        FROM job WHERE NOT EXISTS (SELECT FROM shares
            WHERE shares.client = job.client AND shares.is_bulk = job.is_bulk)
        ORDER BY client, is_bulk
        ON CONFLICT DO NOTHING
    )
    INSERT INTO turns (job_id, client, court, is_bulk, weight, pass)
    -- turns.WEIGHTS
    SELECT job_id, job.client, court, job.is_bulk, CASE priority WHEN 'HIGH' THEN 4 ELSE 1 END,
        coalesce(jobs_at, 0)
    FROM job LEFT JOIN shares ON shares.client = job.client AND shares.is_bulk = job.is_bulk
    ORDER BY array_position(_job_ids, job_id)
    ON CONFLICT DO NOTHING;
END
$body$;
