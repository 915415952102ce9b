-- Return the next webhook that may be sent: of the client with the fewest deliveries under way, the
-- one that is due longest and has a receiver with room. No row if there is none.
--
-- :client: only the webhooks of this client; NULL: those of all clients. :of_client,
-- :of_receiver: the most deliveries at once of a client, and to one of its receivers. A receiver
-- that timed out and has not answered since gets one. :window: how many due webhooks of a client
-- are considered.
WITH RECURSIVE clients AS (
    -- One look into the index for each client.
    (SELECT client FROM webhooks WHERE state = 'PENDING' AND client >= coalesce(:client, '')
        ORDER BY client LIMIT 1)
    UNION ALL
    SELECT next.client FROM clients, LATERAL (SELECT client FROM webhooks
        WHERE state = 'PENDING' AND webhooks.client > clients.client AND :client::text IS NULL
        ORDER BY client LIMIT 1) AS next
)
SELECT due.job_id, due.position FROM clients
CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM webhooks
            WHERE webhooks.client = clients.client AND lease IS NOT NULL
                AND lease_until >= clock_timestamp())
        + (SELECT count(*) FROM webhook_tests AS test
            WHERE test.client = clients.client AND test.lease_until >= clock_timestamp())
        AS deliveries
) AS under_way
CROSS JOIN LATERAL (
    SELECT job_id, position, next_attempt_time FROM (
        SELECT job_id, position, receiver, next_attempt_time FROM webhooks
        WHERE webhooks.client = clients.client AND state = 'PENDING'
            AND next_attempt_time <= (SELECT clock_timestamp())
            AND (lease_until IS NULL OR lease_until < clock_timestamp())
        ORDER BY next_attempt_time LIMIT :window) AS oldest
    WHERE (SELECT count(*) FROM webhooks AS busy
            WHERE busy.client = clients.client AND busy.receiver = oldest.receiver
                AND busy.lease IS NOT NULL AND busy.lease_until >= clock_timestamp())
            + (SELECT count(*) FROM webhook_tests AS test
                WHERE test.client = clients.client AND test.receiver = oldest.receiver
                    AND test.lease_until >= clock_timestamp())
        < coalesce((SELECT 1 FROM silent_receivers AS silent
            WHERE silent.client = clients.client AND silent.receiver = oldest.receiver),
            :of_receiver)
    ORDER BY next_attempt_time LIMIT 1
) AS due
WHERE under_way.deliveries < :of_client
    AND clients.client = coalesce(:client, clients.client)
ORDER BY under_way.deliveries, due.next_attempt_time LIMIT 1
