-- Record the listing of a case under the lease of the listed job: all documents at once. End the run
-- if nothing is left to fetch, and finish the listing as in finish_listing.sql.
--
-- _listing: as in import_listing.sql. _answer, _content: as in record_case_answer.sql.
-- Returns one row: the job's state and revision. is_new is false if an earlier call recorded the
-- listing and its answer was lost. No row means that the lease was lost and nothing was recorded. No
-- row is also returned if the listing must not be copied any more,
-- because the case was sealed or denied meanwhile: the job's next claim then requests the portal.
-- is_refused is true if the run ended because the listing has a seal and the job refuses sealed
-- cases. is_stale: a call that joined has changed the job's selections, which are returned, and
-- nothing was recorded.
CREATE FUNCTION autos_record_listing(
    _job_id uuid,
    _lease uuid,
    _listing jsonb,
    _answer jsonb,
    _content bytea
) RETURNS TABLE (
    job_id uuid, state text, revision bigint, is_new boolean, is_refused boolean, is_stale boolean,
    selections jsonb)
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
        RETURN QUERY SELECT job_id, state, revision, false, false, false, NULL::jsonb
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
    PERFORM autos_finish_listing(job, _lease, _answer, _content,
        autos_listing_is_sealed(_listing), NOT is_refused);
    job_id := _job_id;
    is_new := true;
    RETURN NEXT;
END
$body$;
