-- Record the listing that a look found, under the lease of the look's job: the baseline for the next
-- look and, if something has changed, the event and its webhook. The look is deleted if nothing has
-- changed. If something has, the look becomes a job that fetches what _listing says, or it stays as
-- a row that ended. Finish the listing as in finish_listing.sql.
--
-- _change: as in events; null: nothing has changed, or this is the first look. _listing: as in
-- import_listing.sql; null: the look becomes no job. _answer, _content: as in record_case_answer.sql.
-- Returns one row, but none if the lease was lost or the listing must not be copied any more; `how` is
--
--   unchanged  the look is gone
--   refused    the same: the case is sealed, and the client may not fetch sealed cases
--   changed    the event is recorded; is_new is false if an earlier call recorded it
--   busy       a job of the case runs, and the look cannot become another one: nothing was recorded
--
-- A job of the case that waits for its not_before_time fetches what the look would: it gets the
-- selections of _listing, _most_selections at most, and the look becomes no job.
CREATE FUNCTION autos_record_look(
    _job_id uuid,
    _lease uuid,
    _baseline jsonb,
    _change jsonb,
    _is_sealed boolean,
    _listing jsonb,
    _answer jsonb,
    _content bytea,
    _most_selections integer
) RETURNS TABLE (how text, state text, is_new boolean, due_webhooks integer[])
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
    watched subscriptions;
    event uuid := gen_random_uuid();
BEGIN
    SELECT * FROM jobs WHERE job_id = _job_id AND listing_lease = _lease FOR UPDATE INTO job;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'changed', jobs.state, false, '{}'::integer[]
            FROM jobs WHERE job_id = _job_id AND (end_time IS NOT NULL OR listed_time IS NOT NULL);
        RETURN;
    END IF;
    IF job.listed_by IS NOT NULL AND NOT autos_may_copy_listing(job.listed_by, job.client) THEN
        UPDATE jobs SET listing_lease = NULL, listing_lease_until = NULL, listed_by = NULL
        WHERE job_id = _job_id;
        RETURN;
    END IF;
    IF _listing IS NOT NULL THEN
        BEGIN
            UPDATE jobs SET is_look = false WHERE job_id = _job_id;
        EXCEPTION WHEN unique_violation THEN
            UPDATE jobs SET selections = selections || coalesce(_listing -> 'selections', '[]'),
                revision = revision + 1, update_time = clock_timestamp()
            WHERE job_id = (SELECT job_id FROM jobs
                WHERE client = job.client AND process_number = job.process_number
                    AND state IN ('PENDING', 'PROCESSING') AND NOT is_look
                    AND listed_time IS NULL AND not_before_time > clock_timestamp()
                    AND coalesce(jsonb_array_length(selections), 0) < _most_selections
                FOR UPDATE SKIP LOCKED);
            IF NOT FOUND THEN
                how := 'busy';
                RETURN NEXT;
                RETURN;
            END IF;
            _listing := NULL;
        END;
    END IF;
    how := CASE WHEN job.refuses_sealed AND _is_sealed THEN 'refused'
        WHEN _change IS NULL THEN 'unchanged' ELSE 'changed' END;
    is_new := true;
    due_webhooks := '{}';
    UPDATE subscriptions SET baseline = _baseline,
        last_change_time = CASE WHEN how = 'changed' THEN clock_timestamp() ELSE last_change_time END,
        last_job_id = CASE WHEN how = 'changed' AND _listing IS NOT NULL
            THEN _job_id ELSE last_job_id END
    WHERE client = job.client AND process_number = job.process_number AND how <> 'refused'
    RETURNING * INTO watched;
    -- The client may have unsubscribed meanwhile.
    IF NOT FOUND AND how = 'changed' THEN how := 'unchanged'; END IF;
    IF how = 'changed' THEN
        INSERT INTO events (event_id, client, job_id, run, type, event_time, change, is_superseded)
        VALUES (event, job.client, _job_id, 0, 'case.changed', clock_timestamp(), _change, true);
        IF watched.webhook_url IS NOT NULL AND watched.paused_reason IS NULL THEN
            INSERT INTO webhooks (job_id, position, client, url, receiver, state, event_id,
                webhook_id, next_attempt_time)
            VALUES (_job_id, -1, job.client, watched.webhook_url, watched.receiver, 'PENDING', event,
                'msg_' || replace(event::text, '-', ''), clock_timestamp());
            due_webhooks := '{-1}';
        END IF;
        IF _listing IS NOT NULL THEN
            UPDATE jobs SET selections = nullif(_listing -> 'selections', 'null'::jsonb),
                labels = watched.labels
            WHERE job_id = _job_id;
            INSERT INTO job_labels (job_id, key, value, client, create_time)
            SELECT _job_id, label.key, label.value, job.client, job.create_time
            FROM jsonb_each_text(watched.labels) AS label;
            SELECT imported.state FROM autos_import_listing(_job_id, _listing, NULL) AS imported
            INTO state;
        ELSE
            state := 'CANCELLED';
            UPDATE jobs SET state = 'CANCELLED', end_time = clock_timestamp(),
                update_time = clock_timestamp(), listing_lease = NULL, listing_lease_until = NULL,
                listing_not_before = NULL
            WHERE job_id = _job_id;
        END IF;
    ELSE
        DELETE FROM jobs WHERE job_id = _job_id;
    END IF;
    PERFORM autos_finish_listing(job, _lease, _answer, _content, _is_sealed, how <> 'refused');
    RETURN NEXT;
END
$body$;
