-- Return the documents of a job as an event freezes them: an array of the columns of
-- records.DocumentRecord, in the order of the case file.
CREATE FUNCTION autos_event_documents(_job_id uuid) RETURNS jsonb
LANGUAGE sql STABLE AS $body$
    SELECT coalesce(jsonb_agg(to_jsonb(record) ORDER BY record.position), '[]'::jsonb)
    FROM (SELECT jobs.job_id, document_id, position, name, kind, sequence, instance,
            filed_local_time, documents.secrecy_level, documents.state, documents.revision,
            CASE WHEN documents_of IS NULL THEN attempt_count ELSE 0 END AS attempt_count,
            content_type, size_bytes, sha256, object_key, doubted_sha256,
            documents.error_reason, documents.error_message, documents.error_is_retryable
        FROM jobs JOIN documents ON documents.job_id = coalesce(documents_of, jobs.job_id)
        WHERE jobs.job_id = _job_id) AS record;
$body$;
