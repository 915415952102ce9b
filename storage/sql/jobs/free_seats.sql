-- Return up to _wanted different seats of the client that no running job had a moment ago: see
-- free_seat.sql. Some of many are tried, so that a few free seats among many may be missed.
CREATE FUNCTION autos_free_seats(
    _client text,
    _seats integer,
    _is_waiting boolean,
    _wanted bigint
) RETURNS SETOF integer
LANGUAGE sql
AS $body$
    SELECT seat FROM (
        SELECT DISTINCT CASE WHEN _is_waiting THEN -1 ELSE 1 END
            * (1 + floor(random() * _seats)::integer) AS seat
        FROM generate_series(1, 64 + 4 * _wanted)) AS drawn
    WHERE (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING') AND seated.seat = drawn.seat) IS NULL
        AND (SELECT 1 FROM jobs AS seated WHERE seated.client = _client
            AND seated.state IN ('PENDING', 'PROCESSING')
            AND seated.seat BETWEEN CASE WHEN _is_waiting THEN -2147483647 ELSE _seats + 1 END
                AND CASE WHEN _is_waiting THEN -_seats - 1 ELSE 2147483647 END LIMIT 1) IS NULL
    LIMIT _wanted
$body$;
