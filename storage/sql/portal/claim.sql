-- Begin one slice of requests at the portal for a job, if every limit allows it now.
--
-- Only this function enforces pause, login, circuit breaker, rate, slots (in all and per court),
-- lanes, one listing of a case at a time, and the budget of different cases. A caller may pass any
-- job at any time. If the requests may not begin, the function returns the scope of the refusal and
-- changes nothing. One exception: a job without a place in the budget is marked as waiting for one.
--
-- Each check sets scope, reason and until_time first. EXIT admission then returns them as REFUSED.
--
-- Order: the job's row (waits 50 ms at most); for a listing the lock of its case (never waits); the
-- portal's row if a rate or a slow start is in force, the court's row if a probe of it is due (both
-- SKIP LOCKED); then everything else, in statements that see what was committed meanwhile.
-- After the job's row the function waits for no lock, so it takes part in no deadlock.
--
-- Returns one row per document, or one row for any other answer:
--
--   DOCUMENT       leased under _leases[i]; the slot under _slice
--   LISTING        the listing of the case, leased under _slice, with a slot
--   KNOWN_LISTING  no request: the job copies the listing of job listed_by; leased under _slice. If
--                  both jobs have the same client, no limit of the portal applies. Else every limit
--                  of a request does, and the copy must take usual_s, as a request would: the time
--                  of a listing must not show that another client requested the case
--   PROBE          request the listing only to test whether the court answers: the job has been
--                  listed already; a slot under _slice
--   ENDED          the job ended now, because its listing lost too many workers
--   NO_SLOT_ROWS   rows of slots are missing: insert them in another transaction, then claim again
--   REFUSED        scope PORTAL, COURT, CLIENT (the job's client at the portal), CLIENT_COURT (the
--                  same at the court), BUDGET (cases that are new to the budget), COURT_BUDGET (the
--                  same at the court), CASE or JOB, the reason, and until when (null: unknown)
--
-- Arguments:
--
--   _slice, _leases         new tokens: of the slice or listing, and of the documents, one each
--   _at_once, _per_court    slots of the portal in total, and of one court
--   _per_minute             the rate; null: none
--   _lanes                  documents of the job that may be under way at once
--   _probe_base_s           seconds until the first probe of a court, doubled for each further one
--   _probe_patience_s       seconds of unavailability after which a probe requests a listing
--   _login_key, _fingerprint  the row of the login, and the credentials that the worker would use
--   _spool_id               the spool of the worker's host
--   _lease_s                seconds that the leases last
--   _budget                 as in autos_check_case_budget; null: none
CREATE FUNCTION autos_claim(
    _job_id uuid,
    _slice uuid,
    _leases uuid[],
    _at_once integer,
    _per_court integer,
    _per_minute integer,
    _lanes integer,
    _probe_base_s double precision,
    _probe_patience_s double precision,
    _login_key text,
    _fingerprint text,
    _spool_id uuid,
    _lease_s double precision,
    _budget jsonb
) RETURNS TABLE (
    answer text,
    scope text,
    reason text,
    court text,
    until_time timestamptz,
    -- Seconds from now until the first request may begin, and seconds from one request to the next.
    begins_in_s double precision,
    every_s double precision,
    -- The first time that no claim has reserved; null without a rate.
    next_request_time timestamptz,
    -- Whether more documents of the job could begin now if lanes are free, and when the next one
    -- may be tried again.
    has_more boolean,
    next_not_before timestamptz,
    claim_time timestamptz,
    job_id uuid,
    revision bigint,
    client text,
    process_number text,
    traceparent text,
    lease uuid,
    document_id uuid,
    name text,
    href text,
    listed_size_bytes bigint,
    listed_content_type text,
    listed_by uuid,
    is_doubted boolean,
    has_history boolean,
    -- Whether the job is the look at a watched case.
    is_look boolean,
    -- How many seconds a request of the court took lately, for a copy of another client's listing.
    usual_s double precision,
    -- What the job of a listing wants, as in jobs.selections.
    selections jsonb,
    -- Whether the claim takes over from a lost worker.
    was_lost boolean,
    due_webhooks integer[]
)
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
    -- The requests of a slice take about this long together. Only small, fresh documents share a
    -- slice. Documents without a request 0.25 s after the claim are given back.
    slice_s constant double precision := 0.2;
    small_bytes constant bigint := 1048576;
    -- How far ahead of now the rate may reserve a request, in seconds.
    ahead_s constant double precision := 0.25;
    lost_leases constant integer := 5;
    job jobs;
    portal_row portal;
    court_row courts;
    needs_listing boolean;
    is_being_listed boolean;
    -- Whether the job copies a listing of its own client. Then no limit of the portal applies.
    is_own_copy boolean := false;
    -- Whether the circuit breaker of the court is open for the job's client, so that a request can
    -- only be a probe.
    is_probe boolean;
    -- Whether a pause, a block or an open circuit breaker stops only the client of the job.
    is_of_client boolean;
    -- Whether the court has been unavailable for so long that the probe requests a listing.
    is_long boolean;
    wanted integer := cardinality(_leases);
    requests integer := 1;
    busy integer;
    court_slot integer;
    portal_slot integer;
    first_request_time timestamptz;
    picked tid[];
    budget record;
    -- What is recorded for the budget if the listing is requested.
    case_hmacs bytea[];
BEGIN
<<admission>>
BEGIN
    scope := 'JOB';
    SELECT * FROM jobs WHERE jobs.job_id = _job_id FOR UPDATE SKIP LOCKED INTO job;
    IF NOT FOUND THEN
        BEGIN
            PERFORM set_config('lock_timeout', '50ms', true);
            SELECT * FROM jobs WHERE jobs.job_id = _job_id FOR UPDATE INTO job;
        EXCEPTION WHEN lock_not_available THEN
            reason := 'BUSY'; EXIT admission;
        END;
    END IF;
    IF job.end_time IS NOT NULL OR job.job_id IS NULL THEN
        reason := 'ENDED'; until_time := 'infinity'; EXIT admission;
    END IF;
    until_time := job.not_before_time;
    IF until_time > clock_timestamp() THEN reason := 'WAITING'; EXIT admission; END IF;
    until_time := NULL;
    needs_listing := job.listed_time IS NULL;

    IF needs_listing THEN
        until_time := greatest(job.listing_not_before, job.listing_lease_until);
        IF until_time > clock_timestamp() THEN reason := 'WAITING'; EXIT admission; END IF;
        until_time := NULL;
        IF job.listing_lease IS NOT NULL AND job.listing_lost_count + 1 >= lost_leases THEN
            SELECT 'ENDED', ended.revision, ended.due_webhooks
            FROM autos_end_job(_job_id, 'FAILED', 'WORKER_LOST',
                format('Its worker was lost %s times while listing the case.', lost_leases), true
            ) AS ended INTO answer, revision, due_webhooks;
            job_id := _job_id; RETURN NEXT; RETURN;
        END IF;
        scope := 'CASE'; reason := 'BUSY';
        IF NOT pg_try_advisory_xact_lock(hashtextextended('listing ' || job.process_number, 0)) THEN
            EXIT admission;
        END IF;
        is_being_listed := EXISTS (SELECT FROM jobs AS other
            WHERE other.process_number = job.process_number AND other.job_id <> _job_id
                AND other.listed_time IS NULL AND other.end_time IS NULL
                AND other.listing_lease_until >= clock_timestamp() AND other.listed_by IS NULL);
        -- This is read second, so it also finds a listing that is recorded between both statements.
        SELECT autos_serving_listing(_job_id) INTO listed_by;
        IF listed_by IS NULL AND is_being_listed THEN EXIT admission; END IF;
        is_own_copy := EXISTS (SELECT FROM jobs AS source
            WHERE source.job_id = autos_claim.listed_by AND source.client = job.client);
    END IF;

    IF NOT is_own_copy THEN
        -- Values that may change during the wait for a lock are read after the lock is held.
        scope := 'PORTAL'; reason := 'BUSY';
        IF _per_minute IS NOT NULL OR EXISTS (SELECT FROM portal WHERE eased IS NOT NULL) THEN
            PERFORM FROM portal FOR UPDATE SKIP LOCKED;
            IF NOT FOUND THEN EXIT admission; END IF;
        END IF;
        scope := 'COURT';
        IF EXISTS (SELECT FROM courts
            WHERE court = job.court AND next_probe_time <= clock_timestamp()
                AND coalesce(failing_client, job.client) = job.client) THEN
            PERFORM FROM courts WHERE court = job.court FOR UPDATE SKIP LOCKED;
            IF NOT FOUND THEN EXIT admission; END IF;
        END IF;

        scope := 'PORTAL';
        SELECT * FROM portal INTO portal_row;
        IF portal_row.paused_until > clock_timestamp()
            AND coalesce(portal_row.paused_client, job.client) = job.client THEN
            IF portal_row.paused_client IS NOT NULL THEN scope := 'CLIENT'; END IF;
            reason := 'PAUSED'; until_time := portal_row.paused_until; EXIT admission;
        END IF;
        SELECT refused_until, refused_client IS NOT NULL FROM logins WHERE login_key = _login_key
            AND refused_fingerprint = _fingerprint AND refused_until > clock_timestamp()
            AND coalesce(refused_client, job.client) = job.client
            INTO until_time, is_of_client;
        IF FOUND THEN
            IF is_of_client THEN scope := 'CLIENT'; END IF;
            reason := 'LOGIN_REFUSED'; EXIT admission;
        END IF;
        -- No process logs in before next_login_time, and no token is valid: no request can be sent.
        SELECT next_login_time FROM logins WHERE login_key = _login_key
            AND failure_count > 0 AND next_login_time > clock_timestamp()
            AND coalesce(access_expires_time, '-infinity')
                <= clock_timestamp() + interval '2 seconds' INTO until_time;
        IF FOUND THEN reason := 'LOGIN_AWAY'; EXIT admission; END IF;
        first_request_time := greatest(clock_timestamp(), portal_row.next_request_time);
        until_time := first_request_time - ahead_s * interval '1 second';
        IF _per_minute IS NOT NULL AND until_time > clock_timestamp() THEN
            reason := 'RATE'; EXIT admission;
        END IF;

        scope := 'COURT';
        SELECT * FROM courts WHERE court = job.court INTO court_row;
        until_time := court_row.next_probe_time;
        -- If the breaker is open for one client only, only the requests of that client are probes.
        is_of_client := court_row.failing_client IS NOT NULL;
        is_probe := until_time IS NOT NULL
            AND coalesce(court_row.failing_client, job.client) = job.client;
        IF is_probe AND (until_time > clock_timestamp() OR EXISTS (SELECT FROM slots
            WHERE slots.scope = job.court AND lease_until >= clock_timestamp()
                AND (NOT is_of_client OR EXISTS (SELECT FROM jobs AS holder
                    WHERE holder.job_id = slots.job_id AND holder.client = job.client)))) THEN
            IF is_of_client THEN scope := 'CLIENT_COURT'; END IF;
            reason := 'AWAY'; EXIT admission;
        END IF;
        until_time := NULL;
        -- A copy of a listing would not show whether the court answers again.
        IF is_probe THEN listed_by := NULL; END IF;
        is_long := is_probe AND clock_timestamp() - court_row.failing_since
            > _probe_patience_s * interval '1 second';
    END IF;

    IF _budget IS NOT NULL AND NOT is_own_copy AND listed_by IS NULL
        AND (needs_listing OR is_long) THEN
        -- The refusal if another claim is being checked against the budget at this moment.
        scope := 'JOB'; reason := 'BUSY';
        SELECT * FROM autos_check_case_budget(_budget, job.process_number, job.court) INTO budget;
        IF NOT FOUND THEN EXIT admission; END IF;
        IF needs_listing AND budget.used_up IS NULL AND NOT budget.is_free
            AND job.budget_wait_time IS NULL THEN
            -- Other jobs wait for the budget already. The scheduler decides their order, so this
            -- job waits with them instead of taking the place.
            SELECT waiting.budget_scope, clock_timestamp() FROM jobs AS waiting
            WHERE state IN ('PENDING', 'PROCESSING') AND waiting.budget_wait_time IS NOT NULL
                AND waiting.budget_scope IN ('', job.court)
            LIMIT 1 INTO budget.used_up, budget.end_time;
        END IF;
        IF budget.used_up IS NULL THEN
            case_hmacs := budget.hmacs;
        ELSIF needs_listing THEN
            UPDATE jobs SET budget_scope = budget.used_up,
                budget_wait_time = coalesce(budget_wait_time, clock_timestamp())
            WHERE jobs.job_id = _job_id AND budget_scope IS DISTINCT FROM budget.used_up;
            scope := CASE budget.used_up WHEN '' THEN 'BUDGET' ELSE 'COURT_BUDGET' END;
            reason := 'CASE_BUDGET'; until_time := budget.end_time; EXIT admission;
        ELSE
            -- The probe requests a file of the listed case instead.
            is_long := false;
        END IF;
    END IF;

    IF NOT needs_listing THEN
        scope := 'JOB'; reason := 'LANES';
        SELECT count(DISTINCT slice) FILTER (WHERE state = 'DOWNLOADING')
            + count(*) FILTER (WHERE state = 'DOWNLOADED')
        FROM documents WHERE documents.job_id = _job_id
            AND state IN ('DOWNLOADING', 'DOWNLOADED') INTO busy;
        IF busy >= _lanes THEN EXIT admission; END IF;
    END IF;

    IF NOT is_own_copy THEN
        -- After a limit was lowered, or in a slow start, slots above the limit may still be taken.
        -- They count, too.
        scope := 'COURT'; reason := 'FULL';
        IF (SELECT count(*) FROM slots WHERE slots.scope = job.court
            AND lease_until >= clock_timestamp()) >= _per_court THEN
            EXIT admission;
        END IF;
        SELECT number FROM slots WHERE slots.scope = job.court AND number < _per_court
            AND coalesce(lease_until, '-infinity') < clock_timestamp()
            ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED INTO court_slot;
        IF NOT FOUND THEN
            IF (SELECT count(*) FROM slots WHERE slots.scope = job.court AND number < _per_court)
                < _per_court THEN answer := 'NO_SLOT_ROWS';
            END IF;
            EXIT admission;
        END IF;
        scope := 'PORTAL';
        IF (SELECT count(*) FROM slots WHERE slots.scope = '' AND lease_until >= clock_timestamp())
            >= least(_at_once, floor(portal_row.eased)) THEN
            EXIT admission;
        END IF;
        SELECT number FROM slots WHERE slots.scope = '' AND number < _at_once
            AND coalesce(lease_until, '-infinity') < clock_timestamp()
            ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED INTO portal_slot;
        IF NOT FOUND THEN
            IF (SELECT count(*) FROM slots WHERE slots.scope = '' AND number < _at_once) < _at_once
                THEN answer := 'NO_SLOT_ROWS';
            END IF;
            EXIT admission;
        END IF;
    END IF;

    IF NOT needs_listing THEN
        scope := 'JOB';
        IF _per_minute IS NOT NULL THEN
            wanted := least(wanted, 1 + floor(ahead_s * _per_minute / 60.0)::integer);
        END IF;
        IF is_probe OR coalesce(court_row.measured_requests, 0) = 0 THEN
            wanted := 1;
        END IF;
        wanted := least(wanted, greatest(1, floor(slice_s / court_row.request_s))::integer);
        picked := autos_pick_documents(_job_id, wanted, small_bytes);
        requests := cardinality(picked);
        IF requests = 0 THEN
            reason := 'WAITING';
            SELECT coalesce(min(not_before), 'infinity') FROM documents
                WHERE documents.job_id = _job_id AND state = 'PENDING' AND not_before IS NOT NULL
                INTO until_time;
            EXIT admission;
        END IF;
    END IF;

    -- Every limit allows it: write.
    scope := NULL; reason := NULL;
    UPDATE slots SET lease = _slice, job_id = _job_id, taken_time = clock_timestamp(),
        lease_until = clock_timestamp() + _lease_s * interval '1 second'
    WHERE (slots.scope = job.court AND number = court_slot)
        OR (slots.scope = '' AND number = portal_slot);
    IF case_hmacs IS NOT NULL THEN
        DELETE FROM requested_cases WHERE case_hmac = ANY(case_hmacs[2:]);
        INSERT INTO requested_cases (case_hmac, court, request_time)
        VALUES (case_hmacs[1], job.court, clock_timestamp())
        ON CONFLICT (case_hmac) DO UPDATE SET request_time = excluded.request_time;
    END IF;
    IF is_probe THEN
        UPDATE courts SET probe_count = probe_count + 1,
            next_probe_time = clock_timestamp() + interval '1 second'
                * least(60, _probe_base_s * power(2, least(probe_count + 1, 10)))
        WHERE court = job.court;
    END IF;
    IF _per_minute IS NOT NULL AND NOT is_own_copy THEN
        every_s := 60.0 / _per_minute;
        UPDATE portal SET next_request_time =
            first_request_time + requests * every_s * interval '1 second'
        RETURNING portal.next_request_time INTO next_request_time;
    END IF;
    begins_in_s := greatest(0, extract(epoch FROM first_request_time - clock_timestamp()));
    job_id := _job_id; client := job.client; process_number := job.process_number;
    traceparent := job.traceparent; claim_time := clock_timestamp();
    IF is_long AND NOT needs_listing THEN
        answer := 'PROBE'; RETURN NEXT; RETURN;
    END IF;
    IF needs_listing THEN
        UPDATE jobs SET state = 'PROCESSING',
            start_time = coalesce(start_time, clock_timestamp()),
            revision = jobs.revision + (state = 'PENDING')::integer,
            update_time = CASE state WHEN 'PENDING' THEN clock_timestamp() ELSE update_time END,
            listing_lost_count = listing_lost_count + (listing_lease IS NOT NULL)::integer,
            listing_lease = _slice, listed_by = autos_claim.listed_by,
            deadline_time =
                deadline_time + coalesce(clock_timestamp() - budget_wait_time, interval '0'),
            budget_wait_time = NULL, budget_scope = NULL,
            listing_lease_until = clock_timestamp() + _lease_s * interval '1 second'
        WHERE jobs.job_id = _job_id
        RETURNING jobs.revision, listing_doubt_time IS NOT NULL INTO revision, is_doubted;
        has_history := EXISTS (SELECT FROM jobs AS earlier WHERE earlier.client = job.client
            AND earlier.process_number = job.process_number AND earlier.listed_time IS NOT NULL);
        was_lost := job.listing_lease IS NOT NULL;
        is_look := job.is_look;
        selections := job.selections;
        IF listed_by IS NOT NULL AND NOT is_own_copy THEN
            usual_s := coalesce(court_row.request_s, 0.5);
        END IF;
        answer := CASE WHEN listed_by IS NULL THEN 'LISTING' ELSE 'KNOWN_LISTING' END;
        RETURN NEXT; RETURN;
    END IF;
    UPDATE jobs SET revision = jobs.revision + requests, update_time = clock_timestamp()
        WHERE jobs.job_id = _job_id;
    -- Whether a lane is free does not matter here: the scheduler counts lanes itself.
    has_more := requests < (SELECT count(*) FROM (
        (SELECT FROM documents WHERE documents.job_id = _job_id AND state = 'PENDING'
            AND not_before IS NULL LIMIT requests + 1)
        UNION ALL
        (SELECT FROM documents WHERE documents.job_id = _job_id AND state = 'PENDING'
            AND not_before <= clock_timestamp() LIMIT requests + 1)) AS ready);
    SELECT min(not_before) FROM documents WHERE documents.job_id = _job_id
        AND state = 'PENDING' AND not_before > clock_timestamp() INTO next_not_before;
    answer := 'DOCUMENT';
    FOR lease, document_id, name, href, listed_size_bytes, listed_content_type, revision IN
        UPDATE documents SET state = 'DOWNLOADING', lease = _leases[place], slice = _slice,
            slice_size = requests, spool_id = _spool_id, revision = job.revision + place,
            lease_until = clock_timestamp() + _lease_s * interval '1 second'
        FROM unnest(picked) WITH ORDINALITY AS chosen(row_id, place)
        WHERE documents.ctid = chosen.row_id AND state = 'PENDING'
        RETURNING documents.lease, documents.document_id, documents.name,
            hrefs[href_index + 1], documents.listed_size_bytes, documents.listed_content_type,
            documents.revision
    LOOP
        RETURN NEXT;
    END LOOP;
    RETURN;
END admission;
    answer := coalesce(answer, 'REFUSED'); job_id := _job_id; court := job.court;
    RETURN NEXT;
END
$body$;
