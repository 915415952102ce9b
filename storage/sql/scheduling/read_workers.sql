-- Return the workers with a recent heartbeat.
SELECT threads, takes_files FROM workers
WHERE heartbeat_time >= clock_timestamp() - :heartbeat_s * interval '1 second'
