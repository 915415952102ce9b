-- Record the listing of a case under the lease of the listed job. Record all documents at once, end
-- the run if nothing is left to fetch, and free the slots of the request. An answer of the portal
-- also closes the breaker of its court and lets a slow start grow. A listing that was copied from
-- another job (listed_by) proves nothing about a court.
--
-- _listing: as in import_listing.sql. _answer, _content: as in record_case_answer.sql.
-- Returns one row: the job's state and revision, whether its court had counted as away, and by how
-- many requests the portal's limit has grown. is_new is false if an earlier call recorded the
-- listing and its answer was lost. No row means that the lease was lost and nothing was recorded.
-- No row is also returned if the listing must not be copied any more, because the case was sealed or
-- denied meanwhile: the job's next claim then requests the portal. is_refused is true if the run
-- ended because the listing has a seal and the job refuses sealed cases. is_stale: a call that joined
-- has changed the job's selections, which are returned, and nothing was recorded.
CREATE FUNCTION autos_record_listing(
    _job_id uuid,
    _lease uuid,
    _listing jsonb,
    _answer jsonb,
    _content bytea
) RETURNS TABLE (
    job_id uuid, state text, revision bigint, is_new boolean, is_refused boolean, was_away boolean,
    growth integer, is_stale boolean, selections jsonb)
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
    job jobs;
BEGIN
    SELECT * FROM jobs WHERE job_id = _job_id AND listing_lease = _lease FOR UPDATE INTO job;
    IF NOT FOUND THEN
        RETURN QUERY SELECT job_id, state, revision, false, false, false, 0, false, NULL::jsonb
            FROM jobs
            WHERE job_id = _job_id AND listed_time IS NOT NULL;
        RETURN;
    END IF;
    IF job.listed_by IS NOT NULL AND NOT autos_may_copy_listing(job.listed_by, job.client) THEN
        UPDATE jobs SET listing_lease = NULL, listing_lease_until = NULL, listed_by = NULL
        WHERE job_id = _job_id;
        RETURN;
    END IF;
    SELECT imported.state, imported.revision, imported.is_refused, imported.is_stale
    FROM autos_import_listing(_job_id, _listing, job.listed_by) AS imported
    INTO state, revision, is_refused, is_stale;
    IF is_stale THEN
        job_id := _job_id; is_new := false; selections := job.selections;
        RETURN NEXT;
        RETURN;
    END IF;
    IF job.listed_by IS NULL THEN
        SELECT answered.was_away, answered.growth
        FROM autos_portal_answered(ARRAY[_lease]) AS answered INTO was_away, growth;
    ELSE
        UPDATE slots SET lease = NULL, lease_until = NULL, taken_time = NULL, job_id = NULL
        WHERE lease = _lease;
        was_away := false;
        growth := 0;
    END IF;
    IF NOT is_refused THEN
        PERFORM autos_record_case_answer(job, _answer, _content, autos_listing_is_sealed(_listing));
    END IF;
    -- The last lock that is waited for, here and where a denial is recorded.
    IF autos_listing_is_sealed(_listing) THEN
        INSERT INTO case_secrecy (process_number, sealed_time)
        VALUES (job.process_number, clock_timestamp())
        ON CONFLICT (process_number) DO UPDATE SET
            sealed_time = coalesce(case_secrecy.sealed_time, excluded.sealed_time);
    END IF;
    job_id := _job_id;
    is_new := true;
    RETURN NEXT;
END
$body$;
