-- Return the jobs that may have waited for the listing of the case by job :job_id and can continue.
SELECT job_id FROM jobs
WHERE process_number = :process_number AND job_id <> :job_id
    AND listed_time IS NULL AND end_time IS NULL
    AND coalesce(listing_lease_until, '-infinity') < clock_timestamp()
    AND coalesce(listing_not_before, '-infinity') <= clock_timestamp()
ORDER BY create_time
