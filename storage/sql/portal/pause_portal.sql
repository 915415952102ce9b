-- Pause requests because the portal refused one request of a client, and begin a slow start. The
-- token :lease holds that request's slots. Returns the seconds that the pause lasts, and the only
-- client that it stops (NULL: all).
--
-- :asked_s: the seconds that the portal named, NULL without; :base_s: the first pause then, doubled
-- each time; :spread: a factor; :cap_s: the longest pause; :at_once: requests at once when the slow
-- start is over; :scope: the scope of the portal's own slots.
--
-- :client: the client, if the refusal may concern its request only; NULL: the portal refused all.
-- Refusals of one client stop only this client, until another client's request is refused, too,
-- with no good answer between. If no other client has running jobs, there is a slow start as well.
--
-- A refused request that began before the pause may lengthen the pause, but does not count as a
-- second refusal.
WITH before AS (
    SELECT *, eased IS NULL AND paused_client IS NOT NULL AS was_of_client,
        good_time > pause_time AS has_good_answer,
        coalesce((SELECT min(taken_time) FROM slots WHERE lease = :lease),
            clock_timestamp()) > pause_time AS began_later,
        (SELECT count(*) FROM slots WHERE scope = :scope
            AND lease_until >= clock_timestamp()) AS busy
    FROM portal FOR UPDATE
), strike AS (
    SELECT *, :client::text IS NULL
        OR (paused_client IS NULL AND paused_until > clock_timestamp())
        OR (coalesce(paused_client <> :client, false) AND NOT has_good_answer) AS stops_all,
        coalesce(
            (SELECT client FROM jobs WHERE state IN ('PENDING', 'PROCESSING') AND client < :client
                ORDER BY client LIMIT 1),
            (SELECT client FROM jobs WHERE state IN ('PENDING', 'PROCESSING') AND client > :client
                ORDER BY client LIMIT 1)) IS NOT NULL AS has_others
    FROM before
), verdict AS (
    SELECT *, CASE WHEN NOT stops_all THEN :client END AS stopped,
        began_later OR (stops_all AND was_of_client) AS is_new,
        stops_all OR NOT has_others AS is_eased,
        CASE WHEN eased IS NULL AND (stops_all OR has_good_answer) THEN 0 ELSE pause_count END
            AS strikes,
        CASE WHEN stops_all OR paused_client IS NOT DISTINCT FROM :client THEN paused_until
            ELSE '-infinity' END AS known_until
    FROM strike)
UPDATE portal SET
    paused_client = stopped,
    pause_time = CASE WHEN is_new THEN clock_timestamp() ELSE portal.pause_time END,
    -- In a slow start, the pause of one client does not lengthen the next one of all.
    pause_count = strikes + (is_new AND (is_eased OR portal.eased IS NULL))::integer,
    paused_until = greatest(known_until, clock_timestamp() + interval '1 second'
        * least(:cap_s, :spread * coalesce(:asked_s::double precision,
            CASE WHEN is_new THEN :base_s * power(2, least(strikes, 20)) ELSE 0 END))),
    eased = CASE WHEN is_eased THEN 1 ELSE portal.eased END,
    eased_to = CASE WHEN is_eased THEN :at_once ELSE portal.eased_to END,
    eased_fast_to = CASE WHEN is_new AND is_eased THEN greatest(1, busy / 2.0)
        ELSE portal.eased_fast_to END
FROM verdict
RETURNING extract(epoch FROM portal.paused_until - clock_timestamp())::double precision AS wait_s,
    portal.paused_client
