-- Move SKIPPED documents of a job that are wanted now to the states of :rows, in their order: PENDING,
-- AVAILABLE with the object of another job, or FAILED. The caller has locked the job's row.
UPDATE documents SET state = given.state, revision = :revision + given.place,
    is_reused = given.is_reused, object_key = given.object_key, size_bytes = given.size_bytes,
    sha256 = given.sha256, content_type = given.content_type, extension = given.extension,
    doubted_sha256 = given.doubted_sha256, error_reason = given.reason,
    error_message = given.message, error_is_retryable = given.is_retryable
FROM ROWS FROM (jsonb_to_recordset(:rows::jsonb) AS (document_id uuid, state text,
        is_reused boolean, object_key text, size_bytes bigint, sha256 text, content_type text,
        extension text, doubted_sha256 text, reason text, message text, is_retryable boolean))
    WITH ORDINALITY AS given(document_id, state, is_reused, object_key, size_bytes, sha256,
        content_type, extension, doubted_sha256, reason, message, is_retryable, place)
WHERE documents.job_id = :job_id AND documents.document_id = given.document_id
    AND documents.state = 'SKIPPED'
