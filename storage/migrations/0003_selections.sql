-- Selections, labels and the time before which a job waits, as printed from the models, which say
-- what a column is for.

ALTER TABLE jobs ADD COLUMN skipped_documents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN selections JSONB;
ALTER TABLE jobs ADD COLUMN unlisted_document_ids UUID[] NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN labels JSONB NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN not_before_time TIMESTAMPTZ;
ALTER TABLE jobs ADD COLUMN retention_s DOUBLE PRECISION;

ALTER TABLE jobs DROP CONSTRAINT jobs_ended_documents_within_total;
ALTER TABLE jobs DROP CONSTRAINT jobs_completed_has_all_documents;
ALTER TABLE jobs DROP CONSTRAINT jobs_partially_completed_has_both;
ALTER TABLE jobs DROP CONSTRAINT jobs_ended_has_ended_documents;
ALTER TABLE jobs DROP CONSTRAINT jobs_seat;
ALTER TABLE jobs ADD CONSTRAINT jobs_seat CHECK (seat <> 0);
ALTER TABLE jobs ADD CONSTRAINT jobs_skipped_documents CHECK (skipped_documents >= 0);
ALTER TABLE jobs ADD CONSTRAINT jobs_retention_s CHECK (retention_s > 0);
ALTER TABLE jobs ADD CONSTRAINT jobs_ended_documents_within_total CHECK (completed_documents +
    failed_documents + cancelled_documents + skipped_documents <= coalesce(total_documents, 0));
ALTER TABLE jobs ADD CONSTRAINT jobs_completed_has_all_documents CHECK (state <> 'COMPLETED' OR
    (total_documents IS NOT NULL AND completed_documents + skipped_documents = total_documents));
ALTER TABLE jobs ADD CONSTRAINT jobs_partially_completed_has_both CHECK (state <>
    'PARTIALLY_COMPLETED' OR (completed_documents > 0 AND failed_documents > 0 AND total_documents
    IS NOT NULL AND completed_documents + failed_documents + skipped_documents = total_documents));
ALTER TABLE jobs ADD CONSTRAINT jobs_ended_has_ended_documents CHECK (end_time IS NULL OR
    total_documents IS NULL OR completed_documents + failed_documents + cancelled_documents +
    skipped_documents = total_documents);

ALTER TABLE documents DROP CONSTRAINT documents_state;
ALTER TABLE documents DROP CONSTRAINT documents_fetchable_has_link;
ALTER TABLE documents ADD CONSTRAINT documents_state CHECK (state IN ('PENDING', 'DOWNLOADING',
    'DOWNLOADED', 'AVAILABLE', 'FAILED', 'CANCELLED', 'SKIPPED'));
ALTER TABLE documents ADD CONSTRAINT documents_fetchable_has_link CHECK (state IN ('AVAILABLE',
    'FAILED', 'CANCELLED', 'SKIPPED') OR href_index < cardinality(hrefs));

CREATE TABLE job_labels (
    job_id UUID NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    client TEXT NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (job_id, key),
    FOREIGN KEY (job_id) REFERENCES jobs (job_id) ON DELETE CASCADE
);
CREATE INDEX job_labels_newest ON job_labels (client, key, value, create_time DESC, job_id DESC);
