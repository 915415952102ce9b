-- The jobs of one StartDownloads call, as printed from the models, which say what a column is for.

CREATE TABLE batches (
    batch_id UUID NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    create_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    refused INTEGER,
    CONSTRAINT batches_refused CHECK (refused >= 0)
);

CREATE TABLE batch_items (
    batch_id UUID NOT NULL,
    place INTEGER NOT NULL,
    job_id UUID,
    is_new BOOLEAN NOT NULL DEFAULT false,
    refusal JSONB,
    PRIMARY KEY (batch_id, place),
    FOREIGN KEY (batch_id) REFERENCES batches (batch_id) ON DELETE CASCADE,
    CONSTRAINT batch_items_place CHECK (place >= 0),
    CONSTRAINT batch_items_one_result CHECK ((job_id IS NULL) <> (refusal IS NULL))
);

ALTER TABLE jobs ADD COLUMN batch_id UUID;
CREATE INDEX jobs_of_batch ON jobs (batch_id, create_time DESC, job_id DESC)
    WHERE batch_id IS NOT NULL;

ALTER TABLE requests ALTER COLUMN job_id DROP NOT NULL;
ALTER TABLE requests ADD COLUMN batch_id UUID;
ALTER TABLE requests ADD FOREIGN KEY (batch_id) REFERENCES batches (batch_id) ON DELETE CASCADE;
ALTER TABLE requests ADD CONSTRAINT requests_one_target
    CHECK ((job_id IS NULL) <> (batch_id IS NULL));
