-- Return the newest job of each of many cases, given as client and process number.
SELECT given.client, given.process_number, newest.job_id
FROM unnest(:clients::text[], :process_numbers::text[]) AS given(client, process_number),
    LATERAL (SELECT job_id FROM jobs
        WHERE client = given.client AND process_number = given.process_number AND NOT is_look
        ORDER BY create_time DESC, job_id DESC LIMIT 1) AS newest
