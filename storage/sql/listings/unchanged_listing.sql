-- Return the job whose document rows a job may refer to in place of a copy, null if there is none.
-- It holds the rows of the listing that is copied from job _source: the same client's, all of them
-- AVAILABLE, and with the same objects. Such rows never change. They must be newer than the job, so
-- that a watcher of the job gets them.
-- Settings: those of the functions that import a listing.
CREATE FUNCTION autos_unchanged_listing(
    _job_id uuid,
    _source uuid,
    _listing jsonb
) RETURNS uuid
LANGUAGE plpgsql STABLE
AS $body$
#variable_conflict use_column
DECLARE
    owner uuid;
BEGIN
    SELECT coalesce(source.documents_of, source.job_id)
    FROM jobs AS source, jobs AS job
    WHERE source.job_id = _source AND job.job_id = _job_id
        AND source.client = job.client AND source.process_number = job.process_number
        AND source.state = 'COMPLETED' AND source.total_documents > 0
        AND job.selections IS NULL AND source.skipped_documents = 0
        AND source.total_documents = jsonb_array_length(_listing -> 'documents')
        AND job.revision < (SELECT min(revision) FROM documents
            WHERE job_id = coalesce(source.documents_of, source.job_id))
    INTO owner;
    IF owner IS NULL OR EXISTS (
        SELECT FROM jsonb_to_recordset(_listing -> 'documents') AS entry(document_id uuid,
            object_key text, doubted_sha256 text)
        WHERE NOT EXISTS (SELECT FROM documents AS old
            WHERE old.job_id = owner AND old.document_id = entry.document_id
                AND old.object_key = entry.object_key
                AND old.doubted_sha256 IS NOT DISTINCT FROM entry.doubted_sha256))
    THEN
        RETURN NULL;
    END IF;
    RETURN owner;
END
$body$;
