-- Return whether anything in a listing, as in import_listing.sql, is under seal. Unknown counts as
-- sealed.
CREATE FUNCTION autos_listing_is_sealed(_listing jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $body$
    SELECT (_listing ->> 'secrecy_level')::integer IS DISTINCT FROM 0
        OR EXISTS (SELECT FROM jsonb_to_recordset(_listing -> 'documents') AS entry(secrecy_level text)
            WHERE entry.secrecy_level IS DISTINCT FROM 'PUBLICO');
$body$;
