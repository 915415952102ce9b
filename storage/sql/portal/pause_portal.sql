-- Pause all requests because the portal refused one request, and begin a slow start. The token
-- :lease holds that request's slots. Returns the seconds that the pause lasts.
--
-- :asked_s: the seconds that the portal named, NULL without; :base_s: the first pause then, doubled
-- each time; :spread: a factor; :cap_s: the longest pause; :at_once: requests at once when the slow
-- start is over; :scope: the scope of the portal's own slots.
--
-- A refused request that began before the pause may lengthen the pause, but does not count as a
-- second refusal.
WITH strike AS (
    SELECT coalesce((SELECT min(taken_time) FROM slots WHERE lease = :lease),
            clock_timestamp()) > pause_time AS is_new,
        (SELECT count(*) FROM slots WHERE scope = :scope
            AND lease_until >= clock_timestamp()) AS busy
    FROM portal)
UPDATE portal SET
    pause_time = CASE WHEN is_new THEN clock_timestamp() ELSE pause_time END,
    pause_count = pause_count + is_new::integer,
    paused_until = greatest(paused_until, clock_timestamp() + interval '1 second'
        * least(:cap_s, :spread * coalesce(:asked_s::double precision,
            CASE WHEN is_new THEN :base_s * power(2, least(pause_count, 20)) ELSE 0 END))),
    eased = 1, eased_to = :at_once,
    eased_fast_to = CASE WHEN is_new THEN greatest(1, busy / 2.0) ELSE eased_fast_to END
FROM strike
RETURNING extract(epoch FROM paused_until - clock_timestamp())::double precision AS wait_s
