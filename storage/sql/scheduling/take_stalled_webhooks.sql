-- Take up to :most due webhooks that no notifier sends, so that their messages are sent again. Each
-- take is counted: the next one follows after :base_s seconds, then after twice as long each time,
-- at most :cap_s. Clients take turns: many webhooks of one do not delay the first of another.
--
-- :sent_before: null, or the time of a loss of Valkey: then every due webhook is taken that had its
-- message sent before that time. Rows that another transaction holds are skipped: a notifier works
-- on them.
WITH RECURSIVE clients AS (
    -- One look into the index for each client.
    (SELECT client FROM webhooks WHERE state = 'PENDING' AND client >= '' ORDER BY client LIMIT 1)
    UNION ALL
    SELECT next.client FROM clients, LATERAL (SELECT client FROM webhooks
        WHERE state = 'PENDING' AND webhooks.client > clients.client
        ORDER BY client LIMIT 1) AS next
), due AS (
    SELECT oldest.job_id, oldest.position FROM clients CROSS JOIN LATERAL (
        SELECT job_id, position, next_attempt_time,
            row_number() OVER (ORDER BY next_attempt_time) AS turn
        FROM webhooks
        -- In a separate query, the time is a condition on the index.
        WHERE webhooks.client = clients.client AND state = 'PENDING'
            AND next_attempt_time <= (SELECT clock_timestamp())
            AND (lease_until IS NULL OR lease_until < clock_timestamp())
            AND (nudge_time IS NULL OR CASE WHEN :sent_before::timestamptz IS NULL
                THEN clock_timestamp() >= greatest(nudge_time, next_attempt_time)
                    + least(:cap_s, :base_s * power(2, least(nudge_count, 10)))
                        * interval '1 second'
                ELSE nudge_time < :sent_before::timestamptz END)
        ORDER BY next_attempt_time LIMIT :most) AS oldest
    ORDER BY oldest.turn, oldest.next_attempt_time LIMIT :most
), taken AS (
    SELECT webhooks.job_id, webhooks.position
    FROM due JOIN webhooks ON webhooks.job_id = due.job_id AND webhooks.position = due.position
    WHERE webhooks.state = 'PENDING'
        AND (lease_until IS NULL OR lease_until < clock_timestamp())
    FOR UPDATE OF webhooks SKIP LOCKED)
UPDATE webhooks SET nudge_time = clock_timestamp(), nudge_count = nudge_count + 1
FROM taken WHERE webhooks.job_id = taken.job_id AND webhooks.position = taken.position
RETURNING taken.job_id, taken.position
