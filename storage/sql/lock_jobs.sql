-- Lock the rows of running jobs, in one order, so that two transactions that lock several jobs
-- never wait for each other in a circle.
--
-- _waits: wait for a row that another transaction holds, up to lock_timeout; else skip it.
-- Returns one row: the jobs that are locked now. A job that is missing has ended or is held.
CREATE FUNCTION autos_lock_jobs(
    _job_ids uuid[],
    _waits boolean
) RETURNS TABLE (locked uuid[])
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
SET lock_timeout = '250ms'
AS $body$
#variable_conflict use_column
BEGIN
    IF _waits THEN
        locked := ARRAY(SELECT job_id
            FROM (SELECT DISTINCT unnest(_job_ids) AS wanted ORDER BY 1) AS given
            CROSS JOIN LATERAL (SELECT job_id FROM jobs
                WHERE job_id = wanted AND end_time IS NULL FOR UPDATE) AS job);
    ELSE
        locked := ARRAY(SELECT job_id
            FROM (SELECT DISTINCT unnest(_job_ids) AS wanted ORDER BY 1) AS given
            CROSS JOIN LATERAL (SELECT job_id FROM jobs
                WHERE job_id = wanted AND end_time IS NULL FOR UPDATE SKIP LOCKED) AS job);
    END IF;
    RETURN NEXT;
END
$body$;
