-- Who lets go of what it holds finds it without looking at every task that has ended.
CREATE INDEX file_tasks_held ON file_tasks (held_by) WHERE held_by IS NOT NULL;
