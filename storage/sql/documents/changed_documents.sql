-- Return the documents of many jobs that changed in a range of revisions of each job, for watchers.
-- The columns are those of records.DocumentRecord.
SELECT documents.job_id, document_id, position, name, kind, sequence, instance, filed_local_time,
    secrecy_level, state, revision, attempt_count, content_type, size_bytes, sha256, object_key,
    error_reason, error_message, error_is_retryable, doubted_sha256
FROM unnest(:ids::uuid[], :after::bigint[], :up_to::bigint[])
    AS range(job_id, after_revision, up_to_revision)
JOIN documents ON documents.job_id = range.job_id
    AND revision > after_revision AND revision <= up_to_revision
ORDER BY documents.job_id, revision
