-- Record that a sweep deletes, or has deleted, these objects. In one order, because several sweeps
-- may record the same keys.
INSERT INTO swept_objects (object_key, sweep_time)
SELECT key, clock_timestamp() FROM unnest(:keys::text[]) AS key ORDER BY key
ON CONFLICT (object_key) DO UPDATE SET sweep_time = excluded.sweep_time
