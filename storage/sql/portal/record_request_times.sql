-- Add measured requests to the moving average of each court: total seconds and number of requests.
--
-- While a court has fewer than :plain requests, each counts alike; later the newest count most, by
-- 1 - :kept. No average is below :least_s. Rows are locked in one order, so that two of these
-- statements cannot deadlock.
INSERT INTO courts AS old (court, request_s, measured_requests)
SELECT court, greatest(:least_s, seconds / requests), requests
FROM unnest(:courts::text[], :seconds::double precision[], :requests::bigint[])
    AS measured (court, seconds, requests)
WHERE requests > 0 ORDER BY court
ON CONFLICT (court) DO UPDATE SET
    request_s = old.request_s + (excluded.request_s - old.request_s)
        * CASE WHEN old.measured_requests < :plain
            THEN excluded.measured_requests::double precision
                / (old.measured_requests + excluded.measured_requests)
            ELSE 1 - power(:kept::double precision, excluded.measured_requests) END,
    measured_requests = old.measured_requests + excluded.measured_requests
