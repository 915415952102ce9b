-- Start the jobs of many StartDownload calls, or find the jobs that serve them.
--
-- _requests: an array of objects, the columns of `asked` below. `place` is the order in which they
-- arrived; `listing`, as in import_listing.sql, holds the documents that a new job begins with,
-- copied from the job `source`: such a job needs no seat. Returns one row per request; `how` is
--
--   new                its job, inserted now, with all columns of records.JobRecord; it has ended
--                      already if nothing of the listing is left to fetch
--   joined             the running job of the case; revision is set if the call changed it: its
--                      priority was raised, or the webhook was added
--   earlier            the job of an earlier call with this request_id and the same payload
--   request_id_reused  an earlier call used the request_id with another payload
--   wider              the request wants documents that the case's running job job_id does not: add
--                      them (storage/jobs/widening.py), then call again
--   too_many_labels    the running job would have more than _most_labels labels
--   look               the listing of job listed_by is recent: check which of its documents the
--                      bucket holds, then call again with it, or with may_look false
--   no_seat            the client has reached its number of running jobs
--   no_webhook         the running job of the case has _most_webhooks webhooks, and would get one more
--   recorded           the batch has a result for its request batch_place already
--   no_waiting_seat    the client has reached its number of jobs that wait for not_before_time
--   busy               another transaction works on the case or on the request_id: call again
--
-- A single request waits for the locks that it needs, at most lock_timeout. A request among several
-- does not wait for a case, so that no case delays the others. All locks are taken in one order, so
-- that two servers that start the same cases never deadlock.
CREATE FUNCTION autos_start_jobs(
    _requests jsonb,
    _deadline_s double precision,
    _most_documents integer,
    _most_webhooks integer,
    _most_labels integer
) RETURNS TABLE (
    place integer,
    how text,
    listed_by uuid,
    job_id uuid,
    client text,
    process_number text,
    state text,
    run integer,
    revision bigint,
    total_documents integer,
    completed_documents integer,
    failed_documents integer,
    cancelled_documents integer,
    reused_documents integer,
    stored_bytes bigint,
    secrecy_level integer,
    error_reason text,
    error_message text,
    error_is_retryable boolean,
    create_time timestamptz,
    start_time timestamptz,
    update_time timestamptz,
    end_time timestamptz,
    expire_time timestamptz,
    max_age_s double precision,
    priority text,
    vanished_documents integer,
    vanished_document_ids uuid[],
    skipped_documents integer,
    selections jsonb,
    unlisted_document_ids uuid[],
    labels jsonb,
    not_before_time timestamptz,
    batch_id uuid)
LANGUAGE plpgsql
SET lock_timeout = '200ms'
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $body$
#variable_conflict use_column
DECLARE
    is_alone boolean := jsonb_array_length(_requests) = 1;
    asked record;
    job jobs;
    known requests;
    listing jsonb;
    limited text;
    busy_clients text[] := '{}';
    -- Clients without a free seat. A search for one that is not there reads all seats.
    full_clients text[] := '{}';
    seat_key text;
    -- The new jobs, by place.
    new_places integer[] := '{}';
    new_ids uuid[] := '{}';
    is_raised boolean;
    is_labelled boolean;
    is_sooner boolean;
    is_kept_longer boolean;
    is_hooked boolean;
    seat integer;
    seats integer;
    is_waiting boolean;
    begin_time timestamptz;
BEGIN
    -- A batch that holds seats and takes more could wait for another batch that does the same. A
    -- single request holds no seat while it waits.
    IF NOT is_alone THEN
        FOR limited IN SELECT DISTINCT client
            FROM jsonb_to_recordset(_requests) AS one(client text, seats integer)
            WHERE seats IS NOT NULL ORDER BY 1
        LOOP
            CONTINUE WHEN pg_try_advisory_xact_lock(hashtextextended('seats ' || limited, 0));
            BEGIN
                PERFORM pg_advisory_xact_lock(hashtextextended('seats ' || limited, 0));
            EXCEPTION WHEN lock_not_available THEN
                busy_clients := busy_clients || limited;
            END;
        END LOOP;
    END IF;
    IF NOT is_alone THEN
        SELECT coalesce(array_agg(place), '{}'), coalesce(array_agg(job_id), '{}')
        FROM autos_start_new_jobs(_requests, _deadline_s, _most_documents, busy_clients)
        INTO new_places, new_ids;
    END IF;
    FOR asked IN
        SELECT * FROM jsonb_to_recordset(_requests) AS one(place integer, job_id uuid,
            client text, process_number text, state text, priority text,
            max_age_s double precision, traceparent text, seats integer, waiting_seats integer, url text, receiver text,
            refuses_sealed boolean, request_id uuid, payload_sha256 text, may_look boolean,
            listing jsonb, source uuid, selections jsonb, labels jsonb, not_before_time timestamptz,
            retention_s double precision, batch_id uuid, batch_place integer)
        WHERE place <> ALL(new_places)
        ORDER BY client, process_number, place
    LOOP
        place := asked.place; how := NULL; listed_by := NULL; job_id := NULL; revision := NULL;
        is_raised := false; is_labelled := false; is_sooner := false; is_kept_longer := false;
        is_hooked := false; listing := asked.listing;
        IF is_alone THEN
            PERFORM pg_advisory_xact_lock(
                hashtextextended('start ' || asked.client || ' ' || asked.process_number, 0));
        ELSIF asked.seats IS NOT NULL AND asked.client = ANY(busy_clients)
            OR NOT pg_try_advisory_xact_lock(
                hashtextextended('start ' || asked.client || ' ' || asked.process_number, 0))
        THEN
            how := 'busy';
            RETURN NEXT;
            CONTINUE;
        END IF;
        -- Another call with the request_id of the batch may have started it.
        IF asked.batch_id IS NOT NULL AND EXISTS (SELECT FROM batch_items
            WHERE batch_id = asked.batch_id AND place = asked.batch_place)
        THEN
            how := 'recorded';
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF asked.request_id IS NOT NULL THEN
            IF is_alone THEN
                PERFORM pg_advisory_xact_lock(
                    hashtextextended('request ' || asked.client || ' ' || asked.request_id, 0));
            ELSIF NOT pg_try_advisory_xact_lock(
                hashtextextended('request ' || asked.client || ' ' || asked.request_id, 0))
            THEN
                how := 'busy';
                RETURN NEXT;
                CONTINUE;
            END IF;
            SELECT * FROM requests
            WHERE client = asked.client AND request_id = asked.request_id INTO known;
            IF FOUND THEN
                job_id := known.job_id;
                how := CASE WHEN known.payload_sha256 = asked.payload_sha256
                    THEN 'earlier' ELSE 'request_id_reused' END;
                IF how = 'earlier' AND asked.batch_id IS NOT NULL THEN
                    INSERT INTO batch_items (batch_id, place, job_id)
                    VALUES (asked.batch_id, asked.batch_place, job_id);
                END IF;
                RETURN NEXT;
                CONTINUE;
            END IF;
        END IF;
        -- Until the time of a job that waits, a recent listing becomes an old one.
        IF asked.may_look AND asked.max_age_s > 0
            AND coalesce(asked.not_before_time <= clock_timestamp(), true)
        THEN
            listed_by := autos_recent_listing(
                asked.client, asked.process_number, asked.max_age_s, _most_documents);
            IF listed_by IS NOT NULL AND NOT EXISTS (SELECT FROM jobs
                WHERE client = asked.client AND process_number = asked.process_number
                    AND state IN ('PENDING', 'PROCESSING') AND NOT is_look)
            THEN
                how := 'look';
                RETURN NEXT;
                CONTINUE;
            END IF;
            listed_by := NULL;
        END IF;
        -- The deadline counts from here.
        begin_time := greatest(clock_timestamp(), asked.not_before_time);
        -- If the case was sealed or denied meanwhile, its listing is not copied.
        IF listing IS NOT NULL AND asked.source IS NOT NULL
            AND NOT autos_may_copy_listing(asked.source, asked.client)
        THEN
            listing := NULL;
        END IF;
        LOOP
            -- A job with every document stored ends in this transaction and never runs beside
            -- others.
            is_waiting := coalesce(asked.not_before_time > clock_timestamp(), false);
            seats := CASE WHEN is_waiting THEN asked.waiting_seats ELSE asked.seats END;
            seat_key := is_waiting || ' ' || asked.client;
            seat := CASE WHEN seats IS NOT NULL AND listing IS NULL
                    AND seat_key <> ALL(full_clients)
                THEN autos_free_seat(asked.client, seats, is_waiting) END;
            IF seats IS NOT NULL AND listing IS NULL AND seat IS NULL
                AND seat_key <> ALL(full_clients)
                AND (is_waiting OR NOT EXISTS (SELECT FROM jobs WHERE client = asked.client
                    AND process_number = asked.process_number
                    AND state IN ('PENDING', 'PROCESSING')))
            THEN
                IF seats > 0 AND NOT is_waiting THEN
                    seat := autos_vacate_seat(asked.client, asked.waiting_seats);
                END IF;
                IF seat IS NULL THEN full_clients := full_clients || seat_key; END IF;
            END IF;
            IF seat IS NOT NULL OR seats IS NULL OR listing IS NOT NULL THEN
                INSERT INTO jobs (job_id, client, process_number, state, priority, max_age_s,
                    traceparent, start_time, deadline_time, seat, refuses_sealed, selections, labels,
                    not_before_time, retention_s, batch_id)
                VALUES (asked.job_id, asked.client, asked.process_number, asked.state,
                    asked.priority, asked.max_age_s, asked.traceparent,
                    CASE WHEN asked.state = 'PROCESSING' THEN clock_timestamp() END,
                    begin_time + _deadline_s * interval '1 second', seat,
                    coalesce(asked.refuses_sealed, false), asked.selections,
                    coalesce(asked.labels, '{}'), asked.not_before_time, asked.retention_s,
                    asked.batch_id)
                ON CONFLICT DO NOTHING RETURNING * INTO job;
                IF FOUND THEN
                    how := 'new';
                    EXIT;
                END IF;
            END IF;
            SELECT * FROM jobs
            WHERE client = asked.client AND process_number = asked.process_number
                AND state IN ('PENDING', 'PROCESSING') AND NOT is_look INTO job;
            IF FOUND THEN
                -- What a job wants, its labels, its webhooks and its retention only grow while it
                -- runs, and it only moves to an earlier time: what the job has without its lock, it
                -- has with it.
                is_labelled := NOT job.labels @> coalesce(asked.labels, '{}');
                is_hooked := asked.url IS NOT NULL AND NOT EXISTS (SELECT FROM webhooks
                    WHERE job_id = job.job_id AND url = asked.url AND position >= 0);
                -- A call that is refused must not widen the job before.
                IF is_labelled AND (SELECT count(*) > _most_labels
                    FROM jsonb_object_keys(job.labels || asked.labels))
                THEN
                    how := 'too_many_labels';
                    EXIT;
                ELSIF is_hooked AND _most_webhooks <= (SELECT count(*) FROM webhooks
                    WHERE job_id = job.job_id AND position >= 0)
                THEN
                    how := 'no_webhook';
                    EXIT;
                END IF;
                IF job.selections IS NOT NULL AND (asked.selections IS NULL
                    OR EXISTS (SELECT FROM jsonb_array_elements(asked.selections) AS added(selection)
                        WHERE NOT EXISTS (
                            SELECT FROM jsonb_array_elements(job.selections) AS had(selection)
                            WHERE had.selection = added.selection)))
                THEN
                    how := 'wider';
                    EXIT;
                END IF;
                is_raised := array_position('{HIGH,NORMAL,BULK}'::text[], asked.priority)
                    < array_position('{HIGH,NORMAL,BULK}'::text[], job.priority);
                is_sooner := coalesce(job.not_before_time > clock_timestamp()
                    AND coalesce(asked.not_before_time, '-infinity') < job.not_before_time, false);
                is_kept_longer :=
                    (job.retention_s < coalesce(asked.retention_s, 'infinity')) IS TRUE;
                how := 'joined';
                -- A row that names the job needs the job's lock, too.
                EXIT WHEN NOT (is_raised OR is_labelled OR is_sooner OR is_kept_longer OR is_hooked)
                    AND asked.request_id IS NULL;
                IF is_alone THEN
                    SELECT * FROM jobs WHERE job_id = job.job_id
                        AND state IN ('PENDING', 'PROCESSING') FOR UPDATE INTO job;
                ELSE
                    SELECT * FROM jobs WHERE job_id = job.job_id
                        AND state IN ('PENDING', 'PROCESSING') FOR UPDATE SKIP LOCKED INTO job;
                END IF;
                IF FOUND THEN
                    is_raised := array_position('{HIGH,NORMAL,BULK}'::text[], asked.priority)
                        < array_position('{HIGH,NORMAL,BULK}'::text[], job.priority);
                    is_labelled := NOT job.labels @> coalesce(asked.labels, '{}');
                    is_sooner := coalesce(job.not_before_time > clock_timestamp()
                        AND coalesce(asked.not_before_time, '-infinity') < job.not_before_time, false);
                    is_kept_longer :=
                        (job.retention_s < coalesce(asked.retention_s, 'infinity')) IS TRUE;
                    IF is_labelled AND (SELECT count(*) > _most_labels
                        FROM jsonb_object_keys(job.labels || asked.labels))
                    THEN
                        how := 'too_many_labels';
                    END IF;
                    EXIT;
                END IF;
                IF NOT is_alone THEN
                    how := 'busy';
                    EXIT;
                END IF;
            ELSIF seats IS NOT NULL AND listing IS NULL AND seat IS NULL THEN
                how := CASE WHEN is_waiting THEN 'no_waiting_seat' ELSE 'no_seat' END;
                EXIT;
            END IF;
            -- The running job ended, or another job took the seat: begin again.
        END LOOP;
        -- The lock of the job's row keeps the number as it is.
        IF is_hooked AND _most_webhooks <= (SELECT count(*) FROM webhooks
            WHERE job_id = job.job_id AND url <> asked.url AND position >= 0)
        THEN
            how := 'no_webhook';
        END IF;
        IF how IN ('busy', 'no_seat', 'no_waiting_seat', 'no_webhook', 'wider', 'too_many_labels')
        THEN
            IF how = 'wider' THEN job_id := job.job_id; END IF;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF how = 'new' AND asked.url IS NOT NULL OR is_hooked THEN
            INSERT INTO webhooks (job_id, position, client, url, receiver, state)
            SELECT job.job_id, count(*), asked.client, asked.url, asked.receiver, 'WAITING'
            FROM webhooks WHERE job_id = job.job_id AND position >= 0
            ON CONFLICT DO NOTHING;
            is_hooked := FOUND AND how = 'joined';
        END IF;
        IF how = 'joined' THEN
            IF is_raised OR is_labelled OR is_sooner OR is_kept_longer OR is_hooked THEN
                UPDATE jobs SET revision = revision + 1,
                    priority = CASE WHEN is_raised THEN asked.priority ELSE priority END,
                    labels = labels || coalesce(asked.labels, '{}'),
                    not_before_time =
                        CASE WHEN is_sooner THEN asked.not_before_time ELSE not_before_time END,
                    deadline_time = CASE WHEN is_sooner THEN begin_time
                        + _deadline_s * interval '1 second' ELSE deadline_time END,
                    retention_s =
                        CASE WHEN is_kept_longer THEN asked.retention_s ELSE retention_s END,
                    update_time = clock_timestamp()
                WHERE job_id = job.job_id RETURNING revision INTO revision;
            END IF;
        END IF;
        IF how = 'new' AND asked.labels <> '{}' OR is_labelled THEN
            INSERT INTO job_labels (job_id, key, value, client, create_time)
            SELECT job.job_id, label.key, label.value, job.client, job.create_time
            FROM jsonb_each_text(asked.labels) AS label
            ON CONFLICT ON CONSTRAINT job_labels_pkey DO UPDATE SET value = excluded.value;
        END IF;
        IF asked.request_id IS NOT NULL THEN
            INSERT INTO requests (client, request_id, payload_sha256, job_id)
            VALUES (asked.client, asked.request_id, asked.payload_sha256, job.job_id)
            ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                -- A RetryJob was faster.
                RAISE 'request_id taken' USING ERRCODE = 'lock_not_available';
            END IF;
        END IF;
        IF asked.batch_id IS NOT NULL THEN
            INSERT INTO batch_items (batch_id, place, job_id, is_new)
            VALUES (asked.batch_id, asked.batch_place, job.job_id, how = 'new');
        END IF;
        IF how = 'joined' THEN
            job_id := job.job_id;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF listing IS NOT NULL THEN
            PERFORM autos_import_listing(job.job_id, listing, asked.source);
        END IF;
        new_places := new_places || asked.place;
        new_ids := new_ids || job.job_id;
    END LOOP;
    RETURN QUERY SELECT new.place, 'new', NULL::uuid, job.job_id, job.client,
        job.process_number, job.state, job.run, job.revision, job.total_documents,
        job.completed_documents, job.failed_documents, job.cancelled_documents,
        job.reused_documents, job.stored_bytes, job.secrecy_level, job.error_reason,
        job.error_message, job.error_is_retryable, job.create_time, job.start_time,
        job.update_time, job.end_time, job.expire_time, job.max_age_s, job.priority,
        job.vanished_documents, job.vanished_document_ids, job.skipped_documents,
        job.selections, job.unlisted_document_ids, job.labels, job.not_before_time,
        job.batch_id
    FROM unnest(new_places, new_ids) AS new(place, job_id) JOIN jobs AS job ON job.job_id = new.job_id;
END
$body$;
