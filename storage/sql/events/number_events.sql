-- Number the client's events that have no number yet, 1,000 at most, oldest first.
--
-- An event is visible to readers once it has a number. Numbers are given under the lock of the
-- client's row and stay invisible until COMMIT, so a reader that has seen a number has seen every
-- lower one: an event that commits later gets a higher number, whatever its time.
--
-- After a restore, numbers that were given since the backup must not be given again: a reader may
-- have seen them. So numbers go on from the time of the adoption of the bucket, in milliseconds.
CREATE FUNCTION autos_number_events(_client text) RETURNS integer
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $body$
DECLARE
    last bigint;
    numbered integer;
BEGIN
    IF NOT EXISTS (SELECT FROM events WHERE client = _client AND number IS NULL) THEN
        RETURN 0;
    END IF;
    INSERT INTO event_numbers (client) VALUES (_client) ON CONFLICT (client) DO NOTHING;
    SELECT last_number FROM event_numbers WHERE client = _client FOR UPDATE INTO last;
    last := greatest(last, (SELECT (1000 * extract(epoch FROM adopt_time))::bigint
        FROM installation));
    WITH waiting AS (
        SELECT event_id, event_time FROM events WHERE client = _client AND number IS NULL
        ORDER BY event_time, event_id LIMIT 1000),
    placed AS (
        SELECT event_id, row_number() OVER (ORDER BY event_time, event_id) AS place FROM waiting)
    UPDATE events SET number = last + placed.place
    FROM placed WHERE events.event_id = placed.event_id;
    GET DIAGNOSTICS numbered = ROW_COUNT;
    UPDATE event_numbers SET last_number = last + numbered WHERE client = _client;
    RETURN numbered;
END
$body$;
