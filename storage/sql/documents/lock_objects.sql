-- Lock the keys of objects alone, in one order, until the transaction ends: a document that is being
-- stored holds the same lock, shared.
SELECT pg_advisory_xact_lock(hashtextextended(key, 0))
FROM (SELECT unnest(:keys::text[]) AS key ORDER BY 1) AS sorted
