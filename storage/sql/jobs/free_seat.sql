-- Return a seat of the client that no running job had a moment ago, null if there is none.
--
-- How many jobs of a client run at once: each has a seat of its own, a number from 1 to _seats that
-- is unique among the client's running jobs. So the limit holds exactly, whichever process starts
-- jobs, without a count or a lock: a unique index refuses what is too many. A seat is drawn, since
-- one of the first draws is free while most are; only if none is, all seats are looked through.
CREATE FUNCTION autos_free_seat(
    _client text,
    _seats integer
) RETURNS integer
LANGUAGE plpgsql
SET jit = off
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
#variable_conflict use_column
DECLARE
    found integer;
    up_to integer := _seats;
    above integer;
BEGIN
    -- Not EXISTS: that could be planned as a join with all running jobs of the client. While there
    -- are seats above the limit, because it was lowered, no draw counts.
    SELECT seat FROM (
        SELECT 1 + floor(random() * _seats)::integer AS seat FROM generate_series(1, 64)) AS drawn
    WHERE (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING') AND seated.seat = drawn.seat) IS NULL
        AND (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING') AND seated.seat > _seats LIMIT 1) IS NULL
    LIMIT 1 INTO found;
    IF found IS NOT NULL THEN RETURN found; END IF;
    -- The seat up to which one may be given, so that no more than _seats are ever taken: fewer than
    -- _seats while some above are taken, from before the limit was lowered.
    LOOP
        SELECT count(*) FROM jobs WHERE client = _client
            AND state IN ('PENDING', 'PROCESSING') AND seat > up_to INTO above;
        EXIT WHEN up_to = greatest(0, _seats - above);
        up_to := greatest(0, _seats - above);
    END LOOP;
    RETURN (SELECT free.seat FROM generate_series(1, up_to) AS free(seat)
        WHERE (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING') AND seated.seat = free.seat) IS NULL
        -- Any, so that calls of the same moment seldom want the same.
        ORDER BY random() LIMIT 1);
END
$body$;
