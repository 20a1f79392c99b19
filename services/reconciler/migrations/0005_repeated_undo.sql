-- The task that removes what an item put into quarantine, and which of its steps; when that failed last.
ALTER TABLE plan_items
    ADD COLUMN expiry_task_id   uuid,
    ADD COLUMN expiry_step      integer,
    ADD COLUMN expiry_failed_at timestamptz;

CREATE INDEX plan_items_expiring ON plan_items (expiry_task_id) WHERE expiry_task_id IS NOT NULL;

-- What an undo could not bring back lies in quarantine as well.
DROP INDEX plan_items_quarantined;
CREATE INDEX plan_items_quarantined ON plan_items (ended_at)
WHERE status IN ('done', 'undo_failed') AND NOT is_expired AND (action = 'remove' OR replaces);
