-- name: begin
INSERT INTO face_searches (id, event_id, asked_by, gallery_id, consent_version, outcome) VALUES ($1, $2, $3, $4, $5, $6);

-- name: end
UPDATE face_searches SET outcome = $2, matches = $3, finished_at = clock_timestamp() WHERE id = $1;

-- name: keep
INSERT INTO face_search_results (search_id, event_id, asked_by, gallery_id, faces_in_selfie, chosen, pack, threshold,
                                 matches)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: result
SELECT search_id, event_id, faces_in_selfie, chosen, pack, threshold, matches FROM face_search_results
WHERE search_id = $1 AND asked_by IS NOT DISTINCT FROM $2 AND gallery_id IS NOT DISTINCT FROM $3
  AND found_at > statement_timestamp() - make_interval(secs => $4);

-- name: of_event
SELECT id, event_id, asked_by, gallery_id, asked_at, consent_version, outcome, matches, finished_at FROM face_searches
WHERE event_id = $1 AND ($2::uuid IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3;

-- name: remove_results
DELETE FROM face_search_results WHERE search_id IN (
    SELECT search_id FROM face_search_results
    WHERE found_at < statement_timestamp() - make_interval(secs => $1)
    ORDER BY found_at
    LIMIT $2
);

-- name: remove_records
DELETE FROM face_searches WHERE id IN (
    SELECT id FROM face_searches WHERE asked_at < statement_timestamp() - make_interval(secs => $1) ORDER BY id LIMIT $2
)
RETURNING id;
