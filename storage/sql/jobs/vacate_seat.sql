-- Return the seat of a running job of the client that waits for the budget of different cases, after
-- moving that job to a seat of the jobs that wait (_waiting_seats): it counts as one of these from
-- now on. Null if there is no such job, or no such seat.
--
-- A caller calls this when every other seat is taken. Jobs that another transaction has locked are
-- skipped, so it waits for no lock of a job.
CREATE FUNCTION autos_vacate_seat(
    _client text,
    _waiting_seats integer
) RETURNS integer
LANGUAGE plpgsql
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
#variable_conflict use_column
DECLARE
    vacated record;
    waiting_seat integer;
BEGIN
    SELECT job_id, seat FROM jobs
    WHERE client = _client AND state IN ('PENDING', 'PROCESSING') AND seat > 0
        AND budget_wait_time IS NOT NULL
    LIMIT 1 FOR UPDATE SKIP LOCKED INTO vacated;
    IF NOT FOUND THEN RETURN NULL; END IF;
    FOR attempt IN 1..3 LOOP
        waiting_seat := autos_free_seat(_client, _waiting_seats, true);
        EXIT WHEN waiting_seat IS NULL;
        BEGIN
            UPDATE jobs SET seat = waiting_seat WHERE job_id = vacated.job_id;
            RETURN vacated.seat;
        EXCEPTION WHEN unique_violation THEN
            -- Another transaction took that seat.
            CONTINUE;
        END;
    END LOOP;
    RETURN NULL;
END
$body$;
