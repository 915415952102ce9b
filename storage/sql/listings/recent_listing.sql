-- Return the job that holds a listing to reuse for a new job of this client, null without one: the
-- newest listing of the case for this client, if it is at most _max_age_s old, if the portal has not
-- denied access to the case since, and if it has at most _most documents (null: any number).
--
-- Listings of other clients are not read: neither the answer nor its time may depend on whether
-- another client requested the case before.
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
        SELECT job_id, listed_time, total_documents FROM jobs
        WHERE client = _client AND process_number = _process_number AND listed_time IS NOT NULL
        ORDER BY listed_time DESC, create_time DESC, job_id DESC
        LIMIT 1) AS newest
    WHERE listed_time >= clock_timestamp() - _max_age_s * interval '1 second'
        AND (_most IS NULL OR total_documents <= _most)
        AND NOT EXISTS (SELECT FROM case_secrecy
            WHERE process_number = _process_number AND denied_time >= newest.listed_time));
END
$body$;
