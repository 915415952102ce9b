-- The budget of different cases, as printed from the models, which say what a column is for.

ALTER TABLE jobs ADD COLUMN budget_wait_time TIMESTAMPTZ;
ALTER TABLE jobs ADD COLUMN budget_scope TEXT;
ALTER TABLE jobs ADD CONSTRAINT jobs_budget_wait_has_scope CHECK ((budget_wait_time IS NULL) =
    (budget_scope IS NULL));
CREATE INDEX jobs_over_budget ON jobs (budget_scope)
    WHERE ((state IN ('PENDING', 'PROCESSING')) AND (budget_wait_time IS NOT NULL));

CREATE TABLE requested_cases (
    case_hmac BYTEA NOT NULL PRIMARY KEY,
    court TEXT NOT NULL,
    request_time TIMESTAMPTZ NOT NULL
);
CREATE INDEX requested_cases_newest ON requested_cases (request_time);
CREATE INDEX requested_cases_of_court ON requested_cases (court, request_time);
