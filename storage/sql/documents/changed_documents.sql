-- Return the documents of many jobs that changed in a range of revisions of each job, for watchers.
-- The columns are those of records.DocumentRecord.
SELECT range.job_id, document_id, position, name, kind, sequence, instance, filed_local_time,
    documents.secrecy_level, documents.state, documents.revision,
    CASE WHEN documents_of IS NULL THEN attempt_count ELSE 0 END AS attempt_count, content_type, size_bytes, sha256, object_key,
    documents.error_reason, documents.error_message, documents.error_is_retryable, doubted_sha256
FROM unnest(:ids::uuid[], :after::bigint[], :up_to::bigint[])
    AS range(job_id, after_revision, up_to_revision)
JOIN jobs ON jobs.job_id = range.job_id
JOIN documents ON documents.job_id = coalesce(documents_of, range.job_id)
    AND documents.revision > after_revision AND documents.revision <= up_to_revision
ORDER BY range.job_id, documents.revision
