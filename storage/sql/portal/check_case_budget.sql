-- Return whether the listing of a case may be requested now under the budget of different cases.
--
-- _budget: `limits`, each with court (null: all courts), most, window_s and margin_s, and `keys` in
-- hex. A case counts for a limit while its newest request is in the window, and margin_s longer;
-- asking for it again is free.
--
-- The caller inserts hmacs[1] in the same transaction if it requests the listing. Until its end, the
-- function returns no row to any other claim: two claims cannot take the last place. It never waits.
--
-- hmacs: of the case, the current one first, then those under older keys. The last key is the
-- installation's id, which serves while no key is configured.
-- used_up: the limit that has no place until end_time: '' or its court; null if every limit has one.
CREATE FUNCTION autos_check_case_budget(_budget jsonb, _process_number text, _court text)
RETURNS TABLE (hmacs bytea[], is_free boolean, used_up text, end_time timestamptz)
LANGUAGE plpgsql AS $body$
#variable_conflict use_column
DECLARE
    asked_time timestamptz;
    wanted record;
    ends timestamptz;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('case budget', 0)) THEN RETURN; END IF;
    hmacs := ARRAY(SELECT autos_case_hmac(decode(key, 'hex'), _process_number)
        FROM jsonb_array_elements_text(_budget -> 'keys') AS key);
    hmacs := hmacs || autos_case_hmac(coalesce(
        (SELECT uuid_send(installation_id) FROM installation), ''), _process_number);
    -- OFFSET 0: else PostgreSQL could read all cases, the newest first.
    SELECT max(request_time) FROM (SELECT request_time FROM requested_cases
        WHERE case_hmac = ANY(hmacs) OFFSET 0) AS known INTO asked_time;
    is_free := true;
    FOR wanted IN SELECT court, most, (window_s + margin_s) * interval '1 second' AS span
        FROM jsonb_to_recordset(_budget -> 'limits')
            AS entry(court text, most integer, window_s integer, margin_s integer)
        WHERE coalesce(court, _court) = _court
    LOOP
        CONTINUE WHEN asked_time > clock_timestamp() - wanted.span;
        is_free := false;
        ends := autos_case_limit_end(wanted.court, wanted.most, wanted.span);
        IF ends > coalesce(end_time, '-infinity') THEN
            used_up := coalesce(wanted.court, ''); end_time := ends;
        END IF;
    END LOOP;
    RETURN NEXT;
END
$body$;
