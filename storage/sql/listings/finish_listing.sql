-- Finish what a listing leaves behind, after its documents or its change: free the slots of the
-- request, keep the answer if _is_kept, and note a seal. The caller's transaction has locked the
-- row of _job. An answer of the portal also closes the breaker of its court and lets a slow start
-- grow. A listing that was copied from another job (listed_by) proves nothing about a court.
--
-- _answer, _content: as in record_case_answer.sql.
CREATE FUNCTION autos_finish_listing(
    _job jobs,
    _lease uuid,
    _answer jsonb,
    _content bytea,
    _is_sealed boolean,
    _is_kept boolean
) RETURNS void
LANGUAGE plpgsql
AS $body$
#variable_conflict use_column
BEGIN
    IF _job.listed_by IS NULL THEN
        PERFORM autos_portal_answered(ARRAY[_lease]);
    ELSE
        UPDATE slots SET lease = NULL, lease_until = NULL, taken_time = NULL, job_id = NULL
        WHERE lease = _lease;
    END IF;
    IF _is_kept THEN
        PERFORM autos_record_case_answer(_job, _answer, _content, _is_sealed);
    END IF;
    -- The last lock that is waited for, here and where a denial is recorded.
    IF _is_sealed THEN
        INSERT INTO case_secrecy (process_number, sealed_time)
        VALUES (_job.process_number, clock_timestamp())
        ON CONFLICT (process_number) DO UPDATE SET
            sealed_time = coalesce(case_secrecy.sealed_time, excluded.sealed_time);
    END IF;
END
$body$;
