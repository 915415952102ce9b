-- Record good answers of the portal: each court that failed and answers again is available, the
-- slots of the requests are free, and each answer lets the slow start grow.
--
-- _slot_tokens: one element for each answer, the token that holds the slots of its request. An
-- answer is counted while its token holds slots, and so only once.
CREATE FUNCTION autos_portal_answered(
    _slot_tokens uuid[]
) RETURNS void
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
    is_slow_start boolean;
    -- Whether only requests of one client were refused, and no good answer has followed.
    is_suspected boolean;
    began_after timestamptz;
    answers integer := 0;
BEGIN
    SELECT eased IS NOT NULL AND (paused_until <= clock_timestamp() OR paused_client IS NOT NULL),
        eased IS NULL AND paused_client IS NOT NULL AND good_time <= pause_time,
        -- While a pause of one client lasts, its requests from before prove nothing.
        CASE WHEN eased IS NULL OR paused_until > clock_timestamp() THEN pause_time
            ELSE '-infinity' END
    FROM portal INTO is_slow_start, is_suspected, began_after;
    IF is_slow_start OR is_suspected THEN
        SELECT count(*) FROM unnest(_slot_tokens) AS answer(token)
        WHERE EXISTS (SELECT FROM slots WHERE slots.lease = answer.token AND scope = ''
            AND taken_time > began_after)
        INTO answers;
    END IF;
    IF is_suspected AND answers > 0 THEN
        UPDATE portal SET good_time = clock_timestamp()
        WHERE paused_client IS NOT NULL AND good_time <= pause_time;
        answers := 0;
    END IF;
    -- Every part of this statement sees the slots as they were before it.
    WITH freed AS (
        UPDATE slots SET lease = NULL, lease_until = NULL, taken_time = NULL, job_id = NULL
        WHERE lease = ANY(_slot_tokens) RETURNING scope
    )
    -- An answer to a request that began before the failures proves nothing about them.
    UPDATE courts SET failure_count = 0, failing_since = NULL, next_probe_time = NULL,
        failing_client = NULL, probe_count = 0, alive_time = clock_timestamp()
    FROM (SELECT court FROM courts
          WHERE court = ANY(ARRAY(SELECT scope FROM freed)) AND failure_count > 0
              AND EXISTS (SELECT FROM slots WHERE lease = ANY(_slot_tokens)
                  AND scope = court AND taken_time >= failing_since)
          ORDER BY court FOR UPDATE) AS before
    WHERE courts.court = before.court;
    FOR i IN 1..answers LOOP
        UPDATE portal SET eased = CASE WHEN grown < eased_to THEN grown END,
            pause_count = CASE WHEN grown < eased_to THEN pause_count ELSE 0 END,
            good_time = clock_timestamp()
        FROM (SELECT eased + CASE WHEN eased < eased_fast_to THEN 1 ELSE 1 / eased END AS grown
              FROM portal WHERE eased IS NOT NULL
                  AND (paused_until <= clock_timestamp() OR paused_client IS NOT NULL)
              FOR UPDATE) AS before;
        EXIT WHEN NOT FOUND;
    END LOOP;
END
$body$;
