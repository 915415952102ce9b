-- Return whether any answer about the case, to any client, ever had a seal. Unknown counts as sealed.
CREATE FUNCTION autos_case_is_sealed(_process_number text) RETURNS boolean
LANGUAGE sql STABLE AS $body$
    SELECT EXISTS (SELECT FROM case_secrecy
            WHERE process_number = _process_number AND sealed_time IS NOT NULL)
        OR EXISTS (SELECT FROM jobs
            WHERE process_number = _process_number AND listed_time IS NOT NULL
                AND (secrecy_level IS DISTINCT FROM 0 OR EXISTS (SELECT FROM documents
                    WHERE documents.job_id = jobs.job_id
                        AND documents.secrecy_level <> 'PUBLICO')));
$body$;
