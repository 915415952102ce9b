-- Return the HMAC-SHA256 (RFC 2104) of a case number. _key: at most 64 bytes.
CREATE FUNCTION autos_case_hmac(_key bytea, _process_number text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE AS $body$
DECLARE
    inner_pad bytea := decode(repeat('36', 64), 'hex');
    outer_pad bytea := decode(repeat('5c', 64), 'hex');
BEGIN
    FOR i IN 0..length(_key) - 1 LOOP
        inner_pad := set_byte(inner_pad, i, get_byte(inner_pad, i) # get_byte(_key, i));
        outer_pad := set_byte(outer_pad, i, get_byte(outer_pad, i) # get_byte(_key, i));
    END LOOP;
    RETURN sha256(outer_pad || sha256(inner_pad || convert_to(_process_number, 'UTF8')));
END
$body$;
