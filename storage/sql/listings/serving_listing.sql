-- Return the job that holds a listing to reuse for this job, null if the portal must be requested.
--
-- A listing received after the caller's request serves that caller, whatever freshness the caller
-- requires. Another client's listing serves only in this case, because an older one would show that
-- the other client requested it; and only if nothing in it is sealed and the case never was. No
-- listing serves from before the portal last denied access to the case.
CREATE FUNCTION autos_serving_listing(_job_id uuid) RETURNS uuid LANGUAGE sql STABLE AS $body$
    SELECT newest.job_id
    FROM jobs CROSS JOIN LATERAL (
        SELECT job_id, listed_time FROM jobs AS listed
        WHERE process_number = jobs.process_number AND listed_time IS NOT NULL
            AND (client = jobs.client
                OR (listed_time >= coalesce(jobs.rerun_time, jobs.create_time)
                    AND NOT autos_case_is_sealed(jobs.process_number)))
        ORDER BY listed_time DESC, client = jobs.client DESC, create_time DESC, job_id DESC
        LIMIT 1) AS newest
    WHERE jobs.job_id = _job_id
        AND newest.listed_time > coalesce(jobs.listing_doubt_time, '-infinity')
        AND NOT EXISTS (SELECT FROM case_secrecy
            WHERE process_number = jobs.process_number AND denied_time >= newest.listed_time)
        AND (newest.listed_time >= coalesce(jobs.rerun_time, jobs.create_time)
            OR (jobs.max_age_s > 0 AND newest.listed_time >=
                clock_timestamp() - jobs.max_age_s * interval '1 second'));
$body$;
