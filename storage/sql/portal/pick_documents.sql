-- Lock and return the row addresses (ctid) of up to _wanted documents of a job that may be
-- requested now. The caller has locked the job's row.
--
-- A document that is tried again, is large or has no known size is returned alone. Several
-- documents are fresh ones with a listed size of _small_bytes or less. Documents that are due again
-- go before fresh ones.
CREATE FUNCTION autos_pick_documents(_job_id uuid, _wanted integer, _small_bytes bigint)
RETURNS tid[] LANGUAGE plpgsql AS $body$
DECLARE
    picked tid[];
BEGIN
    picked := ARRAY(SELECT ctid FROM documents
        WHERE job_id = _job_id AND state = 'PENDING' AND not_before <= clock_timestamp()
        ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED);
    IF picked <> '{}' THEN RETURN picked; END IF;
    RETURN ARRAY(SELECT row_id FROM (
        SELECT row_id, row_number() OVER () AS place,
            bool_and(coalesce(listed_size_bytes <= _small_bytes, false))
                OVER (ROWS UNBOUNDED PRECEDING) AS are_small
        FROM (SELECT ctid AS row_id, listed_size_bytes FROM documents
            WHERE job_id = _job_id AND state = 'PENDING' AND not_before IS NULL
            ORDER BY position LIMIT _wanted FOR UPDATE SKIP LOCKED) AS fresh) AS numbered
        WHERE place = 1 OR are_small);
END
$body$;
