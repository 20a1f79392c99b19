-- Rows as a site has them after a while, for plans and benches. $1 is how many there are; ids of media are ordered by
-- time, the first of them twelve days ago, the last now.

-- name: ingest_media
-- Nearly all are done and copied; every twentieth is deleted; a few of each rare state lie anywhere.
INSERT INTO media (id, revision, status, filename, mime_type, size_bytes, sha256, width_px, height_px, entity_type,
                   entity_id, uploaded_by, alt, title, storage_strategy, storage_status, on_disk, in_bucket, original,
                   variants, created_at, updated_at, deleted_at)
SELECT id_of(at, n, '8'), 1,
       CASE WHEN n % 1000 = 7 THEN 'failed' WHEN n > $1::integer - 50 THEN 'processing' ELSE 'completed' END,
       'IMG_' || lpad(n::text, 8, '0') || '.jpg', 'image/jpeg', 400000 + n % 100000, md5(n::text) || md5(n::text), 4000,
       3000, CASE WHEN n % 5000 = 11 THEN 'rare' WHEN n % 10 = 1 THEN 'banner' ELSE 'product' END, (n % 50000)::text,
       id_of(now(), n % 100, '9'), NULL, CASE WHEN n % 5 = 0 THEN 'A thing of ' || md5(n::text) END, 'local_first',
       CASE WHEN n % 1000 = 13 THEN 'missing' WHEN n % 100 = 17 THEN 'local_only' ELSE 'synced' END,
       true, true, stored.file, jsonb_build_array(stored.file, stored.file, stored.file), at, at,
       CASE WHEN n % 20 = 3 THEN now() - make_interval(secs => n % 4000000) END
FROM generate_series(1, $1::integer) AS n
CROSS JOIN LATERAL (
    SELECT date_trunc('second', now() - interval '12 days' * ($1::integer - n) / $1::integer) AS at
) AS moment
CROSS JOIN LATERAL (
    SELECT jsonb_build_object('name', 'small', 'key', 'media/' || md5(n::text) || '/1/small.webp', 'mime_type',
                              'image/webp', 'size_bytes', 40000, 'sha256', md5(n::text) || md5(n::text), 'width_px', 640,
                              'height_px', 480) AS file
) AS stored;

-- name: ingest_jobs
INSERT INTO jobs (id, media_id, revision, uploader, entity_type, status, progress, attempts, outcome, staging_key,
                  created_at, started_at, finished_at)
SELECT id, id, 1, uploaded_by, entity_type, CASE status WHEN 'processing' THEN 'active' ELSE status END, 100, 1,
       CASE WHEN status = 'completed' THEN jsonb_build_object('width', 4000, 'height', 3000) END,
       CASE WHEN status <> 'completed' THEN 'staging/' || id END, created_at, created_at,
       CASE WHEN status <> 'processing' THEN created_at + interval '2 seconds' END
FROM media;

-- name: ingest_event_photos
INSERT INTO event_photos (id, event_id, version, s3_key, image_key, status, faces, confidence, changed_at)
SELECT id_of(now(), n, '9'), id_of(now(), 1, 'b'), 1, 'events/1/previews/' || n || '.jpg', 'events/1/originals/' || n || '.jpg',
       'indexed', 1, 0.9, now()
FROM generate_series(1, $1::integer) AS n;

-- name: ingest_notices
INSERT INTO notices (uploader, id, type, job_id, media_id, body, created_at)
SELECT uploaded_by, row_number() OVER (PARTITION BY uploaded_by ORDER BY id), 'media:processed', id, id, '{}', created_at
FROM media;

-- name: ingest_dead_letters
INSERT INTO dead_letters (id, service, topic, partition, "offset", key, type, code, detail, attempts, dead_lettered_at,
                          headers, payload)
SELECT id, 'image-processor', 'image.process', 0, 1, id::text, 'image.process.v1', 'refused', '', 1, created_at, '{}', ''
FROM media;

-- name: ingest_bulk_jobs
-- One in a hundred is older than a day.
INSERT INTO bulk_jobs (id, uploader, created_at)
SELECT id_of(now(), n, '9'), id_of(now(), n % 100, '9'), now() - interval '24.2 hours' * n / $1::integer
FROM generate_series(1, $1::integer) AS n;

-- name: ingest_bulk_items
-- One parent that had all of the media rendered anew, of which every tenth failed.
WITH parent AS (
    UPDATE bulk_jobs SET kind = 'rerender', items = $1::integer, selected = $1::integer
    WHERE id = (SELECT id FROM bulk_jobs ORDER BY id LIMIT 1)
    RETURNING id
),
failures AS (
    INSERT INTO bulk_failures (bulk_id, failed) SELECT id, $1::integer / 10 FROM parent
)
INSERT INTO bulk_items (bulk_id, position, filename, job_id, media_id, error_code)
SELECT parent.id, number, filename, medium.id, medium.id, CASE WHEN number % 10 = 0 THEN 'original_missing' END
FROM parent, (SELECT id, filename, row_number() OVER (ORDER BY id) - 1 AS number FROM media) AS medium;

-- name: ingest_account_changes
INSERT INTO account_changes (id, area, action, subject_id, detail, done_by, done_at)
SELECT id_of(now(), n, '9'), 'accounts', 'added', id_of(now(), n, '8'), '{}', id_of(now(), n % 100, '9'),
       now() - make_interval(hours => $1::integer - n)
FROM generate_series(1, $1::integer) AS n;

-- name: ingest_notice_streams
INSERT INTO notice_streams (uploader, last_id) SELECT uploader, max(id) FROM notices GROUP BY uploader;

-- name: ingest_sync_jobs
-- Parents with three thousand children each.
INSERT INTO sync_jobs (id, parent_job_id, is_parent, batch_index, operation, status, total_files, requested_by)
SELECT id_of(now(), n, '8'), CASE WHEN n % 3000 <> 1 THEN id_of(now(), n - (n - 1) % 3000, '8') END, n % 3000 = 1,
       CASE WHEN n % 3000 <> 1 THEN (n - 1) % 3000 - 1 END, 'upload_to_s3', 'completed', 100, id_of(now(), 1, '9')
FROM generate_series(1, $1::integer) AS n;

-- name: kernel_outbox
-- All but the last few are sent; some wait for their time.
INSERT INTO outbox (topic, key, headers, payload, created_at, due_at, sent_at)
SELECT 'media.events', n::text, '{}', '\x00'::bytea, now() - make_interval(secs => $1::integer - n),
       CASE WHEN n % 1000 = 5 THEN now() + interval '1 hour' END,
       CASE WHEN n <= $1::integer - 100 AND n % 1000 <> 5 THEN now() - make_interval(secs => $1::integer - n) END
FROM generate_series(1, $1::integer) AS n;

-- name: kernel_inbox
INSERT INTO inbox (consumer, source, claim, claimed_at)
SELECT 'ingest-api', '/mediabus/image-processor', md5(n::text), now() - make_interval(secs => $1::integer - n)
FROM generate_series(1, $1::integer) AS n;

-- name: sync_media
INSERT INTO media (media_id, revision, entity_type, entity_id, files, size_bytes, on_disk, in_bucket)
SELECT id_of(now() - make_interval(secs => $1::integer - n), n, '8'), 1, 'product', (n % 500)::text, '[]', 400000, true,
       n % 100 <> 17
FROM generate_series(1, $1::integer) AS n;

-- name: sync_jobs
-- Parents with twenty children each.
INSERT INTO jobs (job_id, parent_job_id, is_parent, operation, status, delete_source, total_files, requested_by, planned,
                  created_at, finished_at)
SELECT id_of(now(), n, '8'), CASE WHEN n % 20 <> 1 THEN id_of(now(), n - (n - 1) % 20, '8') END, n % 20 = 1,
       'upload_to_s3', 'completed', false, 100, id_of(now(), 1, '9'), true, now(), now()
FROM generate_series(1, $1::integer) AS n;

-- name: sync_superseded
INSERT INTO superseded (media_id, revision, files, due_at)
SELECT media_id, 0, '[]', now() + make_interval(secs => row_number() OVER (ORDER BY media_id) - 20) FROM media;

-- name: reconcile_media
INSERT INTO media (media_id, revision, on_disk, in_bucket)
SELECT id_of(now() - make_interval(secs => $1::integer - n), n, '8'), 1, true, true
FROM generate_series(1, $1::integer) AS n;

-- name: reconcile_files
INSERT INTO media_files (media_id, revision, object_key, mime_type, size_bytes, sha256, superseded_at)
SELECT media_id, 1, 'media/' || media_id || '/1/' || variant || '.webp', 'image/webp', 40000, md5(variant), NULL
FROM media, unnest(ARRAY['small', 'large']) AS variant;

-- name: cleanup_media
INSERT INTO media (media_id, version, state, deleted_at, files, size_bytes)
SELECT id_of(now() - make_interval(secs => $1::integer - n), n, '8'), 1, CASE WHEN n % 20 = 3 THEN 'deleted' ELSE 'live' END,
       CASE WHEN n % 20 = 3 THEN now() - make_interval(secs => n * 100) END, 4, 400000
FROM generate_series(1, $1::integer) AS n;

-- name: faces_events
INSERT INTO events (event_id, number) SELECT id_of(now(), n, '8'), n FROM generate_series(1, 20) AS n;

-- name: faces_photos
INSERT INTO photos (photo_id, event_id, s3_key, stem, status, faces)
SELECT id_of(now(), n, '9'), id_of(now(), 1 + n % 20, '8'), 'events/1/previews/' || n || '.jpg', n::text, 'indexed', 1
FROM generate_series(1, $1::integer) AS n;

-- name: faces_faces
INSERT INTO faces (face_id, event_id, photo_id, pack, pack_version, embedding, box, landmarks, score, size_px, sharpness,
                   yaw, pitch, roll)
SELECT id_of(now(), n, 'a'), id_of(now(), 1 + n % 20, '8'), id_of(now(), n, '9'), 'lite', '1',
       (SELECT array_agg(sin(n * place) + 0.01) FROM generate_series(1, 512) AS place)::halfvec(512), '{0,0,9,9}',
       '{0,0,0,0,0,0,0,0,0,0}', 0.9, 80, 1, 0, 0, 0
FROM generate_series(1, $1::integer) AS n;
