-- Note that a sweep deletes, or has deleted, these objects. In one order, since several sweeps may
-- note the same keys.
INSERT INTO swept_objects (object_key, sweep_time)
SELECT key, clock_timestamp() FROM unnest(:keys::text[]) AS key ORDER BY key
ON CONFLICT (object_key) DO UPDATE SET sweep_time = excluded.sweep_time
