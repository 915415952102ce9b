-- Return the settings that this session lacks, each with the statement that sets it for the role in
-- this database. A setting is missing while it has the value in :unset at its place. If that is
-- null, it is missing while it has another value than the wanted one, and with :pins also until the
-- role has it in this database, if the role may set it: a later setting of the role or of the
-- database has no effect then.
SELECT wanted.name, format('ALTER ROLE %I IN DATABASE %I SET %I = %L',
    session_user, current_database(), wanted.name, value),
    unset IS NOT NULL OR current_setting(wanted.name) <> value AS is_missing
FROM unnest(:names::text[], :values::text[], :unset::text[])
    WITH ORDINALITY AS wanted(name, value, unset, place)
WHERE current_setting(wanted.name) = unset
    OR (unset IS NULL AND (current_setting(wanted.name) <> value OR (:pins AND EXISTS (
        SELECT FROM pg_settings
        WHERE pg_settings.name = wanted.name
            AND (context = 'user' OR has_parameter_privilege(wanted.name, 'SET'))
    ) AND NOT EXISTS (
        SELECT FROM pg_db_role_setting
        JOIN pg_database ON pg_database.oid = setdatabase
        JOIN pg_roles ON pg_roles.oid = setrole
        WHERE datname = current_database() AND rolname = session_user
            AND wanted.name || '=' || value = ANY(setconfig)))))
ORDER BY place
