-- Lists of a million media: whatever they are filtered by, a page is read from an index and not looked for in the table.

-- The columns that are searched in, cut into pieces of three letters: what contains a text contains its pieces. ILIKE
-- decides, and this says where it has to look.
CREATE FUNCTION pieces_of(VARIADIC texts text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(DISTINCT substr(lower(part), start, 3)), '{}')
    FROM unnest(texts) AS part, generate_series(1, length(part) - 2) AS start
$$;

CREATE INDEX media_by_pieces ON media USING gin (pieces_of(filename, alt, title));
CREATE INDEX media_by_storage ON media (storage_status, id DESC);
CREATE INDEX media_of_entity_id ON media (entity_id, id DESC) WHERE entity_id IS NOT NULL;
CREATE INDEX media_of_uploader ON media (uploaded_by, id DESC);
