-- Lock the rows of running jobs in one order, so that two transactions that lock several jobs never
-- deadlock.
--
-- The functions that call this one have the settings.
-- _waits: wait for a row that another transaction holds, up to lock_timeout; else skip it.
-- Returns one row: the jobs that are locked now. A missing job has ended, or its row is locked by
-- another transaction.
CREATE FUNCTION autos_lock_jobs(
    _job_ids uuid[],
    _waits boolean
) RETURNS TABLE (locked uuid[])
LANGUAGE plpgsql
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
