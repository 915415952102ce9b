-- Begin one slice for any running job, while no scheduler proposes.
--
-- Tries 200 running jobs at most, HIGH and NORMAL before BULK, each from the key _from on. The
-- limits are those of autos_claim. Refused while the leader's lease is in force and its last write
-- to Valkey is younger than _sends_s seconds.
CREATE FUNCTION autos_claim_any(
    _from uuid,
    _sends_s double precision,
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
    begins_in_s double precision,
    every_s double precision,
    next_request_time timestamptz,
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
    is_look boolean,
    usual_s double precision,
    selections jsonb,
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
    most_jobs constant integer := 200;
    candidate record;
    closed_courts text[] := '{}';
    -- Clients, and clients with a court.
    closed_clients text[] := '{}';
    -- Used up budgets of cases, as in jobs.budget_scope.
    closed_budgets text[] := '{}';
    -- Very many jobs may wait for a budget: most calls read only the others.
    tries_waiting boolean := random() < 0.125;
    is_bulk boolean;
    looked integer := 0;
BEGIN
    answer := 'REFUSED'; scope := 'PORTAL';
    IF EXISTS (SELECT FROM leader WHERE lease_until > clock_timestamp()
            AND sends_time > clock_timestamp() - _sends_s * interval '1 second') THEN
        reason := 'LED'; RETURN NEXT; RETURN;
    END IF;
    reason := 'NOTHING';
<<jobs_by_rank>>
    FOREACH is_bulk IN ARRAY ARRAY[false, true] LOOP
    FOR candidate IN
        -- From the key on, then from the first key; rows are read only as they are tried.
        (SELECT jobs.job_id, jobs.client, jobs.court, listed_time, budget_wait_time FROM jobs
            WHERE state IN ('PENDING', 'PROCESSING') AND (priority = 'BULK') = is_bulk
                AND coalesce(not_before_time, '-infinity') <= clock_timestamp()
                AND jobs.job_id >= _from
                AND (tries_waiting OR budget_wait_time IS NULL)
            ORDER BY jobs.job_id LIMIT most_jobs)
        UNION ALL
        (SELECT jobs.job_id, jobs.client, jobs.court, listed_time, budget_wait_time FROM jobs
            WHERE state IN ('PENDING', 'PROCESSING') AND (priority = 'BULK') = is_bulk
                AND coalesce(not_before_time, '-infinity') <= clock_timestamp()
                AND jobs.job_id < _from
                AND (tries_waiting OR budget_wait_time IS NULL)
            ORDER BY jobs.job_id LIMIT most_jobs)
    LOOP
        looked := looked + 1;
        EXIT jobs_by_rank WHEN looked > most_jobs;
        CONTINUE WHEN candidate.listed_time IS NOT NULL
            AND NOT EXISTS (SELECT FROM documents WHERE documents.job_id = candidate.job_id
                AND documents.state = 'PENDING' AND not_before IS NULL)
            AND NOT EXISTS (SELECT FROM documents WHERE documents.job_id = candidate.job_id
                AND documents.state = 'PENDING' AND not_before <= clock_timestamp());
        CONTINUE WHEN candidate.court = ANY(closed_courts)
            OR candidate.client = ANY(closed_clients)
            OR candidate.client || ' ' || candidate.court = ANY(closed_clients)
            OR (candidate.budget_wait_time IS NOT NULL
                AND closed_budgets && ARRAY['', candidate.court]);
        FOR answer, scope, reason, court, until_time, begins_in_s, every_s,
            next_request_time, has_more, next_not_before, claim_time, job_id, revision, client, process_number, traceparent,
            lease, document_id, name, href, listed_size_bytes, listed_content_type, listed_by,
            is_doubted, has_history, is_look, usual_s, selections, was_lost, due_webhooks IN
            SELECT * FROM autos_claim(candidate.job_id, _slice, _leases, _at_once, _per_court,
                _per_minute, _lanes, _probe_base_s, _probe_patience_s, _login_key, _fingerprint,
                _spool_id, _lease_s, _budget)
        LOOP
            EXIT WHEN answer = 'REFUSED';
            RETURN NEXT;
        END LOOP;
        IF answer <> 'REFUSED' THEN RETURN; END IF;
        EXIT jobs_by_rank WHEN scope = 'PORTAL';
        IF scope = 'COURT' THEN closed_courts := closed_courts || court; END IF;
        IF reason = 'CASE_BUDGET' AND until_time > clock_timestamp() THEN
            closed_budgets := closed_budgets || CASE scope WHEN 'BUDGET' THEN '' ELSE court END;
        END IF;
        IF scope = 'CLIENT' THEN closed_clients := closed_clients || candidate.client; END IF;
        IF scope = 'CLIENT_COURT' THEN
            closed_clients := closed_clients || (candidate.client || ' ' || court);
        END IF;
    END LOOP;
    END LOOP;
    RETURN NEXT;
END
$body$;
