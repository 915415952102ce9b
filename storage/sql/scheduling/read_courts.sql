-- Return every court that a request was made for: its moving average and its circuit breaker.
SELECT court, request_s, measured_requests,
    extract(epoch FROM next_probe_time)::double precision AS next_probe_at
FROM courts
