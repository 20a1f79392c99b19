-- Media that were selected for a job before it starts, when they are too many for one command; they go with its plan.
CREATE TABLE selections (
    job_id   uuid NOT NULL,
    media_id uuid NOT NULL,
    PRIMARY KEY (job_id, media_id)
);
