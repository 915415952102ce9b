-- Take up to :most due webhooks that no notifier sends, so that their messages are sent again. Each
-- take is counted: the next one follows after :base_s seconds, then after twice as long each time,
-- at most :cap_s.
--
-- :sent_before: null, or the time of a loss of Valkey: then every due webhook is taken that had its
-- message sent before that time. Rows that another transaction holds are skipped: a notifier works
-- on them.
WITH due AS (
    SELECT job_id, position FROM webhooks
    -- In a separate query, the time is a condition on the index.
    WHERE state = 'PENDING' AND next_attempt_time <= (SELECT clock_timestamp())
        AND (lease_until IS NULL OR lease_until < clock_timestamp())
        AND (nudge_time IS NULL OR CASE WHEN :sent_before::timestamptz IS NULL
            THEN clock_timestamp() >= greatest(nudge_time, next_attempt_time)
                + least(:cap_s, :base_s * power(2, least(nudge_count, 10))) * interval '1 second'
            ELSE nudge_time < :sent_before::timestamptz END)
    ORDER BY next_attempt_time LIMIT :most FOR UPDATE SKIP LOCKED)
UPDATE webhooks SET nudge_time = clock_timestamp(), nudge_count = nudge_count + 1
FROM due WHERE webhooks.job_id = due.job_id AND webhooks.position = due.position
RETURNING due.job_id, due.position
