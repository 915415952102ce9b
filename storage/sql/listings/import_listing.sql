-- Record the documents of a job's listing. The caller's transaction has locked the job's row. One
-- statement records any number of documents, so that a partial listing is never visible. End the
-- run if nothing is left to fetch. A job that refuses sealed cases gets no document of a listing
-- with any seal: its run ends FAILED with SEALED.
--
-- If all documents are stored as they are in the newest earlier job of the client, no row is written:
-- the job refers to the rows of that job (documents_of), and its run ends.
--
-- The functions that call this one have the settings.
-- _source: the job that the listing is copied from, null without one.
-- _listing: documents (an array of rows), secrecy_level, listed_time (null: now), doubt_time, the
-- selections by which documents are SKIPPED (null: none is) and the unlisted_document_ids.
-- Returns the job's state and revision after the import, and whether the listing was refused.
-- is_stale: the selections of the job are others by now, and nothing was recorded.
CREATE FUNCTION autos_import_listing(
    _job_id uuid,
    _listing jsonb,
    _source uuid
) RETURNS TABLE (state text, revision bigint, is_refused boolean, is_stale boolean)
LANGUAGE plpgsql
AS $body$
#variable_conflict use_column
DECLARE
    job jobs;
    earlier uuid;
    owner uuid;
    counted record;
BEGIN
    SELECT * FROM jobs WHERE job_id = _job_id INTO STRICT job;
    is_stale := job.selections IS DISTINCT FROM nullif(_listing -> 'selections', 'null'::jsonb);
    IF is_stale THEN
        state := job.state; revision := job.revision; is_refused := false;
        RETURN NEXT;
        RETURN;
    END IF;
    is_refused := job.refuses_sealed AND autos_listing_is_sealed(_listing);
    IF is_refused THEN
        SELECT ended.state, ended.revision
        FROM autos_end_job(_job_id, 'FAILED', 'SEALED',
            'The case is sealed, and this client may not fetch sealed cases.', false) AS ended
        INTO STRICT state, revision;
        RETURN NEXT;
        RETURN;
    END IF;
    -- The job of the case that the same client listed last. A document of that job has vanished if
    -- this listing lacks it.
    SELECT job_id FROM jobs
    WHERE client = job.client AND process_number = job.process_number AND listed_time IS NOT NULL
    ORDER BY listed_time DESC, create_time DESC, job_id DESC LIMIT 1
    INTO earlier;
    IF earlier = _source THEN
        owner := autos_unchanged_listing(_job_id, _source, _listing);
    END IF;
    IF owner IS NOT NULL THEN
        UPDATE jobs SET documents_of = owner, revision = old.revision + 1,
            update_time = clock_timestamp(), total_documents = old.total_documents,
            completed_documents = old.total_documents, reused_documents = old.total_documents,
            stored_bytes = old.stored_bytes,
            secrecy_level = (_listing ->> 'secrecy_level')::integer,
            listed_time = coalesce((_listing ->> 'listed_time')::timestamptz, clock_timestamp()),
            state = 'PROCESSING', start_time = coalesce(jobs.start_time, clock_timestamp()),
            listing_doubt_time =
                coalesce(jobs.listing_doubt_time, (_listing ->> 'doubt_time')::timestamptz),
            listing_lease = NULL, listing_lease_until = NULL, listing_not_before = NULL
        FROM jobs AS old
        WHERE jobs.job_id = _job_id AND jobs.state IN ('PENDING', 'PROCESSING')
            AND old.job_id = owner;
        SELECT ended.state, ended.revision
        FROM autos_end_job(_job_id, NULL, NULL, NULL, NULL) AS ended
        INTO STRICT state, revision;
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT coalesce(documents_of, job_id) FROM jobs WHERE job_id = earlier INTO earlier;
    WITH listed AS (
        INSERT INTO documents (job_id, document_id, position, name, kind, sequence, instance,
            filed_local_time, secrecy_level, hrefs, listed_size_bytes, listed_content_type, state,
            revision, content_type, extension, size_bytes, sha256, object_key,
            doubted_sha256, is_reused, error_reason, error_message, error_is_retryable, origin_id)
        SELECT _job_id, document_id, position, name, kind, sequence, instance, filed_local_time,
            secrecy_level, hrefs, listed_size_bytes, listed_content_type, state,
            job.revision + 1 + position, content_type, extension, size_bytes, sha256, object_key,
            doubted_sha256, is_reused, reason, message, is_retryable, origin_id
        FROM jsonb_to_recordset(_listing -> 'documents') AS entry(document_id uuid, position integer,
            name text, kind text, sequence integer, instance text, filed_local_time text,
            secrecy_level text, hrefs text[], listed_size_bytes bigint, listed_content_type text,
            state text, content_type text, extension text, size_bytes bigint, sha256 text,
            object_key text, doubted_sha256 text, is_reused boolean, reason text, message text,
            is_retryable boolean, origin_id text)
        RETURNING state, size_bytes)
    SELECT count(*) AS total,
        count(*) FILTER (WHERE state = 'AVAILABLE') AS completed,
        count(*) FILTER (WHERE state = 'FAILED') AS failed,
        count(*) FILTER (WHERE state = 'SKIPPED') AS skipped,
        coalesce(sum(size_bytes), 0) AS stored_bytes
    FROM listed INTO counted;
    WITH vanished AS (
        SELECT document_id, position FROM documents AS old
        WHERE job_id = earlier AND NOT EXISTS (SELECT FROM documents
            WHERE job_id = _job_id AND document_id = old.document_id))
    UPDATE jobs SET revision = revision + counted.total + 1, update_time = clock_timestamp(),
        total_documents = counted.total, completed_documents = counted.completed,
        reused_documents = counted.completed, failed_documents = counted.failed,
        skipped_documents = counted.skipped,
        unlisted_document_ids = coalesce(ARRAY(
            SELECT jsonb_array_elements_text(_listing -> 'unlisted_document_ids')::uuid), '{}'),
        stored_bytes = counted.stored_bytes, secrecy_level = (_listing ->> 'secrecy_level')::integer,
        listed_time = coalesce((_listing ->> 'listed_time')::timestamptz, clock_timestamp()),
        state = 'PROCESSING', start_time = coalesce(start_time, clock_timestamp()),
        listing_doubt_time =
            coalesce(listing_doubt_time, (_listing ->> 'doubt_time')::timestamptz),
        vanished_documents = (SELECT count(*) FROM vanished),
        vanished_document_ids = ARRAY(
            SELECT document_id FROM vanished ORDER BY position LIMIT 100),
        listing_lease = NULL, listing_lease_until = NULL, listing_not_before = NULL
    WHERE job_id = _job_id AND jobs.state IN ('PENDING', 'PROCESSING')
    RETURNING jobs.state, jobs.revision INTO STRICT state, revision;
    IF counted.completed + counted.failed + counted.skipped = counted.total THEN
        SELECT ended.state, ended.revision
        FROM autos_end_job(_job_id, NULL, NULL, NULL, NULL) AS ended
        INTO STRICT state, revision;
    END IF;
    RETURN NEXT;
END
$body$;
