-- End the run of a job: state, event and webhooks in the caller's transaction, which holds the lock
-- of the job's row.
--
-- If _state is NULL, the counters decide: a job with open documents, or one that has ended, does
-- not change. Otherwise the run ends in _state, with the given failure if _state is FAILED.
-- Returns one row if the run ended now: its state, its revision and the positions of the webhooks
-- that are due. Documents with the same bytes become unverified. Legal moves: storage/states.py. A look (storage/models/job.py) that ends without a
-- listing is deleted: nothing is known that has changed.
CREATE FUNCTION autos_end_job(
    _job_id uuid,
    _state text,
    _reason text,
    _message text,
    _is_retryable boolean
) RETURNS TABLE (state text, revision bigint, due_webhooks integer[])
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $body$
#variable_conflict use_column
DECLARE
    job jobs;
    event uuid := gen_random_uuid();
    is_sent boolean;
    doubted integer;
BEGIN
    SELECT * FROM jobs WHERE job_id = _job_id AND end_time IS NULL INTO job;
    IF NOT FOUND THEN RETURN; END IF;
    IF job.is_look THEN
        DELETE FROM jobs WHERE job_id = _job_id;
        RETURN QUERY SELECT _state, job.revision, '{}'::integer[] WHERE _state IS NOT NULL;
        RETURN;
    END IF;
    IF _state IS NULL THEN
        -- Null while the case is not listed.
        IF job.completed_documents + job.failed_documents + job.cancelled_documents
            + job.skipped_documents < job.total_documents OR job.total_documents IS NULL THEN RETURN; END IF;
        _state := CASE
            WHEN job.cancelled_documents > 0 THEN 'CANCELLED'
            WHEN job.completed_documents + job.skipped_documents = job.total_documents THEN 'COMPLETED'
            WHEN job.completed_documents > 0 THEN 'PARTIALLY_COMPLETED'
            ELSE 'FAILED' END;
        IF _state = 'FAILED' THEN
            SELECT 'NO_DOCUMENT_AVAILABLE',
                format('None of the %s documents could be fetched; most often the reason was %s.',
                    job.total_documents - job.skipped_documents, mode() WITHIN GROUP (ORDER BY error_reason)),
                coalesce(bool_or(error_is_retryable), false)
            FROM documents WHERE job_id = _job_id AND documents.state = 'FAILED'
            INTO _reason, _message, _is_retryable;
        END IF;
    END IF;
    -- One answer for several documents proves none of them, unless their size is listed. The same
    -- document in another instance does not count. This sees files that were fetched together, too.
    WITH stored AS (
        SELECT document_id, position, sha256, listed_size_bytes, doubted_sha256,
            min(origin) OVER same <> max(origin) OVER same AS is_shared
        FROM (SELECT document_id, position, sha256, listed_size_bytes, doubted_sha256,
                  origin_id COLLATE "C" AS origin
              FROM documents
              WHERE job_id = _job_id AND sha256 IS NOT NULL) AS available
        WINDOW same AS (PARTITION BY sha256 COLLATE "C")
    ), doubtful AS (
        SELECT document_id, row_number() OVER (ORDER BY position) AS number FROM stored
        WHERE is_shared AND listed_size_bytes IS NULL AND doubted_sha256 IS DISTINCT FROM sha256
    ), changed AS (
        UPDATE documents SET doubted_sha256 = sha256, revision = job.revision + number
        FROM doubtful
        WHERE documents.job_id = _job_id AND documents.document_id = doubtful.document_id
        RETURNING number
    )
    SELECT count(*) FROM changed INTO doubted;
    UPDATE jobs SET state = _state, revision = jobs.revision + doubted + 1,
        start_time = coalesce(start_time, clock_timestamp()),
        update_time = clock_timestamp(), end_time = clock_timestamp(),
        error_reason = _reason, error_message = _message, error_is_retryable = _is_retryable,
        listing_lease = NULL, listing_lease_until = NULL, listing_not_before = NULL
    WHERE job_id = _job_id
    RETURNING * INTO job;
    is_sent := EXISTS (SELECT FROM webhooks WHERE job_id = _job_id AND position >= 0);
    INSERT INTO events (event_id, client, job_id, run, type, event_time, job, documents)
    VALUES (event, job.client, _job_id, job.run,
        'download.' || lower(_state), job.end_time,
        -- The columns of records.JobRecord.
        (SELECT to_jsonb(record) FROM (
            SELECT job.job_id, job.client, job.process_number, job.state, job.run, job.revision,
                job.total_documents, job.completed_documents, job.failed_documents,
                job.cancelled_documents, job.reused_documents, job.stored_bytes,
                job.secrecy_level, job.error_reason, job.error_message, job.error_is_retryable,
                job.create_time, job.start_time, job.update_time, job.end_time, job.expire_time,
                job.max_age_s, job.priority, job.vanished_documents, job.vanished_document_ids,
                job.skipped_documents, job.selections, job.unlisted_document_ids, job.labels,
                job.not_before_time, job.batch_id
        ) AS record),
        -- Without webhooks they are frozen when the next run begins.
        CASE WHEN is_sent THEN autos_event_documents(_job_id) END);
    WITH due AS (
        UPDATE webhooks SET state = 'PENDING', event_id = event,
            webhook_id = 'msg_' || replace(
                CASE WHEN position = 0 THEN event ELSE gen_random_uuid() END::text, '-', ''),
            next_attempt_time = clock_timestamp()
        WHERE job_id = _job_id AND webhooks.state = 'WAITING'
        RETURNING position)
    SELECT coalesce(array_agg(position ORDER BY position), '{}') FROM due INTO due_webhooks;
    state := job.state; revision := job.revision;
    RETURN NEXT;
END
$body$;
