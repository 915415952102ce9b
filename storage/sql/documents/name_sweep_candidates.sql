-- Record objects without a row as candidates, so that a later sweep deletes those it finds again.
INSERT INTO sweep_candidates (object_key, find_time, see_time)
SELECT key, now, now FROM unnest(:keys::text[]) AS key, clock_timestamp() AS now ORDER BY key
ON CONFLICT (object_key) DO UPDATE
    SET see_time = greatest(sweep_candidates.see_time, excluded.see_time)
