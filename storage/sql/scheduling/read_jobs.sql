-- Return running jobs, as the scheduler keeps them. Which of them, by the first value that is given:
--
--   _only          this job; and, with _listed_case, the jobs that may have waited until this job
--                  listed that case. Call it after the end of the listing is committed: a job that was
--                  refused before that has a row by then
--   _began_since   up to _limit with a run that began after it, the newest first
--   _after         up to _limit by key, with job_id > _after
--
-- Times are seconds since 1970. Counts of documents stop at _most.
CREATE FUNCTION autos_read_jobs(
    _only uuid,
    _listed_case text,
    _after uuid,
    _began_since timestamptz,
    _limit integer,
    _most integer
) RETURNS TABLE (
    job_id uuid,
    client text,
    priority text,
    court text,
    process_number text,
    run_began_at double precision,
    needs_listing boolean,
    listing_not_before double precision,
    is_listed_by_another boolean,
    waits_for_budget boolean,
    fresh integer,
    due integer,
    next_not_before double precision,
    slices uuid[],
    spooled uuid[],
    total_documents integer,
    documents_left integer
)
LANGUAGE plpgsql STABLE
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_incremental_sort = off
AS $body$
#variable_conflict use_column
DECLARE
    ids uuid[];
BEGIN
    IF _only IS NOT NULL THEN
        ids := ARRAY(SELECT jobs.job_id FROM jobs WHERE jobs.job_id = _only AND end_time IS NULL)
            || ARRAY(SELECT jobs.job_id FROM jobs
                WHERE process_number = _listed_case AND jobs.job_id <> _only
                    AND listed_time IS NULL AND end_time IS NULL
                    AND coalesce(listing_lease_until, '-infinity') < clock_timestamp()
                    AND coalesce(jobs.listing_not_before, '-infinity') <= clock_timestamp());
    ELSIF _began_since IS NULL THEN
        ids := ARRAY(SELECT jobs.job_id FROM jobs
            WHERE state IN ('PENDING', 'PROCESSING') AND jobs.job_id > _after
            -- end_time is null here. Only with it, the index of running jobs has this order.
            ORDER BY jobs.job_id, end_time LIMIT _limit);
    ELSE
        ids := ARRAY(SELECT jobs.job_id FROM jobs
            WHERE state IN ('PENDING', 'PROCESSING')
                AND coalesce(rerun_time, create_time) >= _began_since
            ORDER BY coalesce(rerun_time, create_time) DESC LIMIT _limit);
    END IF;
    RETURN QUERY
    SELECT jobs.job_id, jobs.client, jobs.priority, jobs.court, jobs.process_number,
        extract(epoch FROM coalesce(rerun_time, create_time))::double precision,
        listed_time IS NULL,
        extract(epoch FROM greatest(jobs.listing_not_before, jobs.not_before_time))
            ::double precision,
        listed_time IS NULL AND EXISTS (SELECT FROM jobs AS other
            WHERE other.process_number = jobs.process_number AND other.job_id <> jobs.job_id
                AND other.listed_time IS NULL AND other.end_time IS NULL
                AND other.listing_lease_until >= clock_timestamp() AND other.listed_by IS NULL),
        -- A listing that came meanwhile may serve the job without the budget.
        listed_time IS NULL AND budget_wait_time IS NOT NULL AND NOT EXISTS (
            SELECT FROM jobs AS other WHERE other.process_number = jobs.process_number
                AND other.listed_time >= jobs.budget_wait_time),
        ready.fresh, ready.due, ready.next_not_before,
        lanes.slices || CASE WHEN listing_lease_until >= clock_timestamp()
            THEN ARRAY[listing_lease] ELSE '{}' END,
        lanes.spooled,
        jobs.total_documents,
        jobs.total_documents - completed_documents - failed_documents - cancelled_documents
            - skipped_documents - cardinality(lanes.spooled)
    FROM unnest(ids) AS chosen(job_id)
    JOIN jobs ON jobs.job_id = chosen.job_id
    CROSS JOIN LATERAL (
        SELECT
            -- From the end of the index: dead entries of requested documents lie before the first
            -- live one.
            (SELECT count(*) FROM (SELECT FROM documents WHERE documents.job_id = jobs.job_id
                AND state = 'PENDING' AND not_before IS NULL
                ORDER BY position DESC LIMIT _most) AS counted)::integer AS fresh,
            (SELECT count(*) FROM (SELECT FROM documents WHERE documents.job_id = jobs.job_id
                AND state = 'PENDING' AND not_before <= clock_timestamp()
                ORDER BY not_before LIMIT _most) AS counted)::integer AS due,
            (SELECT extract(epoch FROM not_before) FROM documents
                WHERE documents.job_id = jobs.job_id
                AND state = 'PENDING' AND not_before > clock_timestamp()
                ORDER BY not_before LIMIT 1)::double precision AS next_not_before
    ) AS ready
    CROSS JOIN LATERAL (
        SELECT
            coalesce(array_agg(DISTINCT coalesce(slice, lease))
                FILTER (WHERE state = 'DOWNLOADING'), '{}') AS slices,
            coalesce(array_agg(document_id) FILTER (WHERE state = 'DOWNLOADED'), '{}') AS spooled
        FROM documents WHERE documents.job_id = jobs.job_id
            AND state IN ('DOWNLOADING', 'DOWNLOADED')
    ) AS lanes;
END
$body$;
