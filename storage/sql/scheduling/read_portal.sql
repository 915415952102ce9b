-- Return the portal as a whole. at_once: null unless a slow start is in force. closed_until: when
-- requests may begin again, if a pause, a block of the login, or a login without an answer stops all
-- of them: it stops every client, or the only one with running jobs. held_clients: clients that it
-- stops alone.
WITH stops AS (
    SELECT paused_until AS until, paused_client AS client FROM portal
        WHERE paused_until > clock_timestamp()
    UNION ALL
    SELECT refused_until, refused_client FROM logins WHERE login_key = :login_key
        AND refused_fingerprint = :fingerprint AND refused_until > clock_timestamp()
    UNION ALL
    SELECT next_login_time, NULL FROM logins WHERE login_key = :login_key
        AND failure_count > 0 AND next_login_time > clock_timestamp()
        AND coalesce(access_expires_time, '-infinity')
            <= clock_timestamp() + interval '2 seconds'
)
SELECT extract(epoch FROM clock_timestamp())::double precision AS now,
    floor(eased)::integer AS at_once,
    extract(epoch FROM (SELECT max(until) FROM stops WHERE coalesce(
        (SELECT client FROM jobs WHERE state IN ('PENDING', 'PROCESSING')
            AND client < stops.client ORDER BY client LIMIT 1),
        (SELECT client FROM jobs WHERE state IN ('PENDING', 'PROCESSING')
            AND client > stops.client ORDER BY client LIMIT 1)) IS NULL
    ))::double precision AS closed_until,
    ARRAY(SELECT client FROM stops WHERE client IS NOT NULL) AS held_clients,
    CASE WHEN isfinite(next_request_time)
        THEN extract(epoch FROM next_request_time)::double precision ELSE 0 END AS next_request_at
FROM portal
