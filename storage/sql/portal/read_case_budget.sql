-- Return how much is used of each limit of autos_check_case_budget: the cases of the last window_s
-- seconds, and when a used up limit has a place again. A limit with most = null only counts.
CREATE FUNCTION autos_read_case_budget(_budget jsonb)
RETURNS TABLE (court text, window_s integer, cases bigint, end_time timestamptz)
LANGUAGE plpgsql STABLE
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
#variable_conflict use_column
DECLARE
    since timestamptz;
BEGIN
    FOR court, window_s, end_time IN
        SELECT entry.court, entry.window_s, CASE WHEN entry.most IS NOT NULL THEN
            autos_case_limit_end(entry.court, entry.most,
                (entry.window_s + margin_s) * interval '1 second') END
        FROM jsonb_to_recordset(_budget -> 'limits')
            AS entry(court text, most integer, window_s integer, margin_s integer)
    LOOP
        since := clock_timestamp() - window_s * interval '1 second';
        IF court IS NULL THEN
            SELECT count(*) FROM requested_cases WHERE request_time > since INTO cases;
        ELSE
            SELECT count(*) FROM requested_cases
            WHERE requested_cases.court = autos_read_case_budget.court
                AND request_time > since INTO cases;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$body$;
