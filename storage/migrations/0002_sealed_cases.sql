-- Sealed cases, as printed from the models, which say what a column is for.

ALTER TABLE jobs ADD COLUMN refuses_sealed BOOLEAN NOT NULL DEFAULT false;

CREATE TABLE case_secrecy (
    process_number TEXT NOT NULL PRIMARY KEY,
    sealed_time TIMESTAMPTZ,
    denied_time TIMESTAMPTZ
);
