-- Return whether the listing of job _source may be copied to a job of _client: another client's only
-- if the case never had a seal, and none from before the portal last denied access to the case.
CREATE FUNCTION autos_may_copy_listing(_source uuid, _client text) RETURNS boolean
LANGUAGE sql STABLE AS $body$
    SELECT EXISTS (SELECT FROM jobs AS listed
        WHERE job_id = _source
            AND (client = _client OR NOT autos_case_is_sealed(process_number))
            AND NOT EXISTS (SELECT FROM case_secrecy
                WHERE process_number = listed.process_number AND denied_time >= listed.listed_time));
$body$;
