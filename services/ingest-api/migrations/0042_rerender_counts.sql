-- What became of a million pictures that are rendered anew is read from the counts of their parent, not item by item.

-- How many jobs of a parent have failed. Apart from the parent's row, which whoever plans holds while it waits for media: who tells of
-- a picture's failure holds its medium.
CREATE TABLE bulk_failures (
    bulk_id uuid    PRIMARY KEY REFERENCES bulk_jobs (id) ON DELETE CASCADE,
    failed  integer NOT NULL
);

-- Items say why their jobs failed, so that the index of what was refused finds those too.
UPDATE bulk_items SET error_code = jobs.error_code, error_detail = jobs.error_detail
FROM jobs WHERE jobs.id = bulk_items.job_id AND jobs.status = 'failed';

INSERT INTO bulk_failures (bulk_id, failed)
SELECT parent.id, count(*) FILTER (WHERE coalesce(jobs.status, item.ended_as) = 'failed')
FROM bulk_jobs AS parent LEFT JOIN bulk_items AS item ON item.bulk_id = parent.id
     LEFT JOIN jobs ON jobs.id = item.job_id
WHERE parent.kind = 'rerender'
GROUP BY parent.id;

UPDATE bulk_jobs
SET refused = (SELECT count(*) FROM bulk_items WHERE bulk_id = bulk_jobs.id AND job_id IS NULL)
WHERE kind = 'rerender';
