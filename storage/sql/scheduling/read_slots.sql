-- Return the taken slots of the portal, each with the slice and the job that hold it.
SELECT held.lease AS token, held.job_id, court.scope AS court,
    extract(epoch FROM held.taken_time)::double precision AS taken_at,
    greatest(1, (SELECT count(*) FROM documents WHERE documents.job_id = held.job_id
        AND state = 'DOWNLOADING' AND slice = held.lease))::integer AS requests
FROM slots AS held JOIN slots AS court ON court.lease = held.lease AND court.scope <> ''
WHERE held.scope = '' AND held.lease_until >= clock_timestamp() AND held.job_id IS NOT NULL
