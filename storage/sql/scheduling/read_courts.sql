-- Every court that the portal was asked about: its moving average and its circuit breaker.
SELECT court, request_s, measured_requests,
    extract(epoch FROM next_probe_time)::double precision AS next_probe_at
FROM courts
