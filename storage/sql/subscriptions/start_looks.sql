-- Start looks at watched cases that are due, and set the time of their next look.
--
-- _due: an array of objects: client, process_number, job_id (of the look), refuses_sealed, and
-- may_list (whether the client may ask for the case). No look is made up for: the next time counts
-- from now. It is spread: after the first look by a random part of the interval, later by a
-- twentieth of it. While the portal is paused, the login refused, the court unavailable or the
-- budget used up, or a job of the case runs that does not wait for its not_before_time, a look waits
-- some minutes.
CREATE FUNCTION autos_start_looks(
    _due jsonb,
    _deadline_s double precision,
    _postponed_s double precision
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
DECLARE
    asked record;
    watched subscriptions;
    delay_s double precision;
BEGIN
    FOR asked IN SELECT * FROM jsonb_to_recordset(_due) AS one(client text, process_number text,
        job_id uuid, refuses_sealed boolean, may_list boolean)
    LOOP
        SELECT * FROM subscriptions
        WHERE client = asked.client AND process_number = asked.process_number
        FOR UPDATE SKIP LOCKED INTO watched;
        -- Another scheduler may have started it meanwhile. Null, if it is paused, is no time.
        CONTINUE WHEN NOT coalesce(watched.next_time <= clock_timestamp(), false);
        delay_s := CASE WHEN watched.baseline IS NULL THEN watched.interval_s * random()
            ELSE watched.interval_s * (0.95 + 0.1 * random()) END;
        IF asked.may_list AND (
            EXISTS (SELECT FROM portal WHERE paused_until > clock_timestamp()
                AND coalesce(paused_client, asked.client) = asked.client)
            OR EXISTS (SELECT FROM courts WHERE court = watched.court
                AND next_probe_time IS NOT NULL
                AND coalesce(failing_client, asked.client) = asked.client)
            OR EXISTS (SELECT FROM logins WHERE refused_until > clock_timestamp()
                AND coalesce(refused_client, asked.client) = asked.client)
            -- The budget of different cases is used up.
            OR EXISTS (SELECT FROM jobs WHERE state IN ('PENDING', 'PROCESSING')
                AND budget_wait_time IS NOT NULL AND budget_scope IN ('', watched.court))
            OR EXISTS (SELECT FROM jobs WHERE client = asked.client
                AND process_number = asked.process_number
                AND state IN ('PENDING', 'PROCESSING') AND NOT is_look
                -- One that waits for its own time may wait for weeks: see record_look.sql.
                AND coalesce(not_before_time, '-infinity') <= clock_timestamp()))
        THEN
            delay_s := _postponed_s * (1 + random());
        -- If the look before is still under way, this one is left out. Nothing is inserted then: an
        -- UnsubscribeCase that deletes the look holds its row and waits for the subscription.
        ELSIF asked.may_list AND NOT EXISTS (SELECT FROM jobs WHERE client = asked.client
            AND process_number = asked.process_number AND state IN ('PENDING', 'PROCESSING')
            AND is_look)
        THEN
            INSERT INTO jobs (job_id, client, process_number, state, priority, max_age_s,
                start_time, deadline_time, refuses_sealed, is_look)
            VALUES (asked.job_id, asked.client, asked.process_number, 'PROCESSING', 'BULK', 0,
                clock_timestamp(), clock_timestamp() + _deadline_s * interval '1 second',
                asked.refuses_sealed, true)
            ON CONFLICT DO NOTHING;
        END IF;
        UPDATE subscriptions SET next_time = clock_timestamp() + delay_s * interval '1 second'
        WHERE client = asked.client AND process_number = asked.process_number;
    END LOOP;
END
$body$;
