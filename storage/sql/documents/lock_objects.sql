-- Lock the keys of objects exclusively, in one order, until the transaction ends. A transaction
-- that stores a document holds the same lock, shared.
SELECT pg_advisory_xact_lock(hashtextextended(key, 0))
FROM (SELECT unnest(:keys::text[]) AS key ORDER BY 1) AS sorted
