-- Return the job that holds a listing to reuse for a new job of this client, null without one: the
-- newest listing of the case, if it is at most _max_age_s old and has at most _most documents
-- (null: any number).
--
-- If two listings are equally new, the client's own is preferred. Another client's listing serves
-- only if the case never had a seal and the listing kept its origin_id, which a job has in all of
-- its rows or in none.
-- Settings: those of start_jobs.sql, which calls this function for each request.
CREATE FUNCTION autos_recent_listing(
    _client text,
    _process_number text,
    _max_age_s double precision,
    _most integer
) RETURNS uuid
LANGUAGE plpgsql STABLE
AS $body$
#variable_conflict use_column
BEGIN
    RETURN (SELECT job_id FROM (
        SELECT job_id, listed_time, total_documents FROM jobs AS listed
        WHERE process_number = _process_number AND listed_time IS NOT NULL
            AND (client = _client OR (NOT autos_case_is_sealed(_process_number)
                AND NOT EXISTS (SELECT FROM documents WHERE documents.job_id = listed.job_id
                    AND position = 0 AND origin_id IS NULL)))
        ORDER BY listed_time DESC, client = _client DESC, create_time DESC, job_id DESC
        LIMIT 1) AS newest
    WHERE listed_time >= clock_timestamp() - _max_age_s * interval '1 second'
        AND (_most IS NULL OR total_documents <= _most));
END
$body$;
