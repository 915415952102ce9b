-- Return a concurrency slot ("seat") of the client that no running job had a moment ago, null if
-- there is none.
--
-- The number of a client's concurrent jobs is limited by seats: each running job has a seat, a
-- number from 1 to _seats that is unique among the client's running jobs. A unique index refuses a
-- job above the limit, so the limit holds exactly without a count or a lock, whichever process
-- starts the job. A few random seats are tried first, because most seats are usually free. Only if
-- none of them is free, all seats are searched.
--
-- Jobs that wait for their own time, or for the budget of different cases, have seats of their own
-- (_is_waiting), from -1 to -_seats.
CREATE FUNCTION autos_free_seat(
    _client text,
    _seats integer,
    _is_waiting boolean
) RETURNS integer
LANGUAGE plpgsql
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
#variable_conflict use_column
DECLARE
    side integer := CASE WHEN _is_waiting THEN -1 ELSE 1 END;
    -- The seats above the limit.
    least_above integer := CASE WHEN _is_waiting THEN -2147483647 ELSE _seats + 1 END;
    most_above integer := CASE WHEN _is_waiting THEN -_seats - 1 ELSE 2147483647 END;
    found integer;
    up_to integer := _seats;
    above integer;
BEGIN
    -- Not EXISTS: PostgreSQL could plan it as a join with all running jobs of the client. If the
    -- limit was lowered and seats above it are still taken, no random seat counts.
    SELECT seat FROM (
        SELECT side * (1 + floor(random() * _seats)::integer) AS seat
        FROM generate_series(1, 64)) AS drawn
    WHERE (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING') AND seated.seat = drawn.seat) IS NULL
        AND (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING')
            AND seated.seat BETWEEN least_above AND most_above LIMIT 1) IS NULL
    LIMIT 1 INTO found;
    IF found IS NOT NULL THEN RETURN found; END IF;
    -- The largest seat that may be given, so that no more than _seats are ever taken. It is below
    -- _seats while seats above the limit are taken from before the limit was lowered.
    LOOP
        SELECT count(*) FROM jobs WHERE client = _client
            AND state IN ('PENDING', 'PROCESSING') AND seat BETWEEN least_above AND most_above
        INTO above;
        EXIT WHEN up_to = greatest(0, _seats - above);
        up_to := greatest(0, _seats - above);
        IF _is_waiting THEN most_above := -up_to - 1; ELSE least_above := up_to + 1; END IF;
    END LOOP;
    RETURN (SELECT side * free.seat FROM generate_series(1, up_to) AS free(seat)
        WHERE (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING')
            AND seated.seat = side * free.seat) IS NULL
        -- A random one, so that concurrent calls rarely choose the same seat.
        ORDER BY random() LIMIT 1);
END
$body$;
