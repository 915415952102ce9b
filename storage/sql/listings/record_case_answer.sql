-- Record the portal's answer that a listing came from, for the client of the listed job. The
-- caller's transaction has locked the job's row. An equal answer gets a newer listed_time only. For
-- a listing that was copied from another client's job, the newest answer of that client is copied,
-- unless it is sealed: the case may get its seal between the check of the caller and this statement.
--
-- _answer: sha256, size_bytes and data; null: the listing was copied, or nothing is known of its
-- answer. _content: the bytes, compressed.
CREATE FUNCTION autos_record_case_answer(
    _job jobs,
    _answer jsonb,
    _content bytea,
    _is_sealed boolean
) RETURNS void
LANGUAGE sql
AS $body$
    INSERT INTO case_answers (client, process_number, sha256, size_bytes, listed_time,
        secrecy_level, is_sealed, data, content)
    SELECT _job.client, _job.process_number, _answer ->> 'sha256',
        (_answer ->> 'size_bytes')::bigint, clock_timestamp(),
        (_answer ->> 'secrecy_level')::integer, _is_sealed, _answer -> 'data', _content
    WHERE _answer IS NOT NULL
    ON CONFLICT (client, process_number, sha256) DO UPDATE SET
        listed_time = excluded.listed_time, secrecy_level = excluded.secrecy_level,
        is_sealed = excluded.is_sealed, data = excluded.data;
    INSERT INTO case_answers (client, process_number, sha256, size_bytes, listed_time,
        secrecy_level, is_sealed, data, content, source_key)
    SELECT _job.client, process_number, sha256, size_bytes, listed_time,
        secrecy_level, is_sealed, data, content, coalesce(object_key, source_key)
    FROM (SELECT * FROM case_answers
        WHERE client = (SELECT client FROM jobs WHERE job_id = _job.listed_by)
            AND client <> _job.client AND process_number = _job.process_number
        ORDER BY listed_time DESC LIMIT 1) AS newest
    WHERE NOT is_sealed
    ON CONFLICT (client, process_number, sha256) DO UPDATE SET
        listed_time = greatest(case_answers.listed_time, excluded.listed_time);
$body$;
