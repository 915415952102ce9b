-- Return when a limit of different cases lets the next one in: null if it does so now.
--
-- At most _most cases may have their newest request within _span. _court: of which court; null: of
-- all. The limit is used up while its _most-th newest case is in the window.
CREATE FUNCTION autos_case_limit_end(_court text, _most integer, _span interval)
RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $body$
DECLARE
    -- In a variable, it is a condition on the index.
    since timestamptz := clock_timestamp() - _span;
    found timestamptz;
BEGIN
    IF _court IS NULL THEN
        SELECT request_time + _span FROM requested_cases
        WHERE request_time > since
        ORDER BY request_time DESC OFFSET _most - 1 LIMIT 1 INTO found;
    ELSE
        SELECT request_time + _span FROM requested_cases
        WHERE requested_cases.court = _court AND request_time > since
        ORDER BY request_time DESC OFFSET _most - 1 LIMIT 1 INTO found;
    END IF;
    RETURN found;
END
$body$;
