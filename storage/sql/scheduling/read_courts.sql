-- Return every court that a request was made for: its moving average and its circuit breaker.
-- next_probe_at: null unless the breaker stops all requests: those of every client, or of the only
-- one with running jobs. held_client: the client that it stops alone.
SELECT court, request_s, measured_requests,
    CASE WHEN next_probe_time IS NOT NULL AND coalesce(
        (SELECT client FROM jobs WHERE state IN ('PENDING', 'PROCESSING')
            AND client < failing_client ORDER BY client LIMIT 1),
        (SELECT client FROM jobs WHERE state IN ('PENDING', 'PROCESSING')
            AND client > failing_client ORDER BY client LIMIT 1)) IS NULL
        THEN extract(epoch FROM next_probe_time)::double precision END AS next_probe_at,
    CASE WHEN next_probe_time IS NOT NULL THEN failing_client END AS held_client
FROM courts
