-- Return the documents of a job as an event freezes them: an array of the columns of
-- records.DocumentRecord, in the order of the case file.
CREATE FUNCTION autos_event_documents(_job_id uuid) RETURNS jsonb
LANGUAGE sql STABLE AS $body$
    SELECT coalesce(jsonb_agg(to_jsonb(record) ORDER BY record.position), '[]'::jsonb)
    FROM (SELECT job_id, document_id, position, name, kind, sequence, instance,
            filed_local_time, secrecy_level, documents.state, documents.revision,
            attempt_count, content_type, size_bytes, sha256, object_key, doubted_sha256,
            error_reason, error_message, error_is_retryable
        FROM documents WHERE job_id = _job_id) AS record;
$body$;
