-- Return the settings that this session lacks, each with the statement that sets it for the role in
-- this database. A setting is missing while it has one of the values :unset.
SELECT name, format('ALTER ROLE %I IN DATABASE %I SET %I = %L',
    session_user, current_database(), name, value)
FROM unnest(:names::text[], :values::text[]) WITH ORDINALITY AS wanted(name, value, place)
WHERE current_setting(name) = ANY(:unset::text[]) ORDER BY place
