-- Start the jobs of those requests of a batch that need nothing but a new job: one statement inserts
-- all of them. A statement for each job takes three times as long, mostly for the CHECKs of jobs.
--
-- _requests as in start_jobs.sql, which handles every request that is left out here: with a
-- request_id, a listing to copy or to look up, a running job to join, a case that came twice, a busy
-- case, or without a free seat among those that are tried. Returns the new jobs by place.
CREATE FUNCTION autos_start_new_jobs(
    _requests jsonb,
    _deadline_s double precision,
    _most_documents integer,
    _busy_clients text[]
) RETURNS TABLE (place integer, job_id uuid)
LANGUAGE plpgsql
-- For joins of the requests with each other.
SET enable_hashjoin = on
AS $body$
#variable_conflict use_column
DECLARE
    locked integer[];
    places integer[];
    ids uuid[];
BEGIN
    -- The next statement sees what other transactions committed before they gave up these locks.
    SELECT array_agg(place) FROM (
        SELECT DISTINCT ON (client, process_number) place, client, process_number
        FROM jsonb_to_recordset(_requests) AS one(place integer, client text, process_number text,
            request_id uuid, listing jsonb, batch_id uuid)
        WHERE batch_id IS NOT NULL AND request_id IS NULL AND listing IS NULL
            AND client <> ALL(_busy_clients)
        ORDER BY client, process_number, place) AS asked
    WHERE pg_try_advisory_xact_lock(
        hashtextextended('start ' || client || ' ' || process_number, 0))
    INTO locked;
    WITH asked AS MATERIALIZED (
        SELECT *, coalesce(not_before_time > clock_timestamp(), false) AS is_waiting
        FROM jsonb_to_recordset(_requests) AS one(place integer, job_id uuid, client text,
            process_number text, state text, priority text, max_age_s double precision,
            traceparent text, seats integer, waiting_seats integer, refuses_sealed boolean,
            may_look boolean, selections jsonb, labels jsonb, not_before_time timestamptz,
            retention_s double precision, batch_id uuid, batch_place integer)
        WHERE place = ANY(locked)
            -- Not EXISTS: see free_seat.sql.
            AND (SELECT 1 FROM batch_items
                WHERE batch_id = one.batch_id AND place = one.batch_place) IS NULL
            AND NOT (may_look AND max_age_s > 0
                AND coalesce(not_before_time <= clock_timestamp(), true)
                AND autos_recent_listing(
                    client, process_number, max_age_s, _most_documents) IS NOT NULL)
    ), numbered AS (
        SELECT *, CASE WHEN is_waiting THEN waiting_seats ELSE seats END AS limited_to,
            row_number() OVER (PARTITION BY client, is_waiting ORDER BY place) AS number
        FROM asked
    ), seated AS (
        SELECT numbered.*, free.seat
        FROM numbered LEFT JOIN (
            SELECT client, is_waiting, seat,
                row_number() OVER (PARTITION BY client, is_waiting ORDER BY random()) AS number
            FROM (SELECT client, is_waiting, limited_to, count(*) AS wanted FROM numbered
                WHERE limited_to IS NOT NULL GROUP BY 1, 2, 3) AS clients
            CROSS JOIN LATERAL autos_free_seats(client, limited_to, is_waiting, wanted) AS seat
        ) AS free USING (client, is_waiting, number)
        WHERE limited_to IS NULL OR seat IS NOT NULL
    ), made AS (
        INSERT INTO jobs (job_id, client, process_number, state, priority, max_age_s, traceparent,
            start_time, deadline_time, seat, refuses_sealed, selections, labels, not_before_time,
            retention_s, batch_id)
        SELECT job_id, client, process_number, state, priority, max_age_s, traceparent,
            CASE WHEN state = 'PROCESSING' THEN clock_timestamp() END,
            greatest(clock_timestamp(), not_before_time) + _deadline_s * interval '1 second', seat,
            coalesce(refuses_sealed, false), selections, coalesce(labels, '{}'), not_before_time,
            retention_s, batch_id
        FROM seated ORDER BY place
        -- A case with a running job is left out here.
        ON CONFLICT DO NOTHING
        RETURNING job_id
    )
    SELECT array_agg(place), array_agg(job_id) FROM made JOIN asked USING (job_id)
    INTO places, ids;
    INSERT INTO batch_items (batch_id, place, job_id, is_new)
    SELECT batch_id, batch_place, job_id, true
    FROM jsonb_to_recordset(_requests) AS one(job_id uuid, batch_id uuid, batch_place integer)
    WHERE job_id = ANY(ids);
    INSERT INTO webhooks (job_id, position, client, url, receiver, state)
    SELECT job_id, 0, client, url, receiver, 'WAITING'
    FROM jsonb_to_recordset(_requests) AS one(job_id uuid, client text, url text, receiver text)
    WHERE url IS NOT NULL AND job_id = ANY(ids);
    INSERT INTO job_labels (job_id, key, value, client, create_time)
    SELECT one.job_id, label.key, label.value, one.client,
        (SELECT create_time FROM jobs WHERE job_id = one.job_id)
    FROM jsonb_to_recordset(_requests) AS one(job_id uuid, client text, labels jsonb)
    CROSS JOIN LATERAL jsonb_each_text(one.labels) AS label
    WHERE one.labels <> '{}' AND one.job_id = ANY(ids);
    RETURN QUERY SELECT * FROM unnest(places, ids);
END
$body$;
