-- Return the portal as a whole. at_once: null unless a slow start is in force.
SELECT extract(epoch FROM clock_timestamp())::double precision AS now,
    floor(eased)::integer AS at_once,
    extract(epoch FROM greatest(
        CASE WHEN paused_until > clock_timestamp() THEN paused_until END,
        (SELECT refused_until FROM logins WHERE login_key = :login_key
            AND refused_fingerprint = :fingerprint AND refused_until > clock_timestamp())
    ))::double precision AS closed_until,
    CASE WHEN isfinite(next_request_time)
        THEN extract(epoch FROM next_request_time)::double precision ELSE 0 END AS next_request_at
FROM portal
