"""Every metric of the system, declared once: what it means, and what to do when it moves."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# --- the job of the system -------------------------------------------------------------------------------------------

media_jobs_added_total = Counter(
    "media_jobs_added",
    "Jobs accepted by ingest-api. Compare with media_jobs_processed_total: a growing gap is a backlog.",
    ["entity_type", "queue_type"],
)
media_jobs_processed_total = Counter(
    "media_jobs_processed",
    "Jobs with an outcome, status success or failed. Many failures: read the dead letters.",
    ["entity_type", "status"],
)
media_processing_duration_seconds = Histogram(
    "media_processing_duration_seconds",
    "From the start of an attempt until its outcome is committed. Rising: more pictures than cores, or large ones.",
    ["entity_type"],
    buckets=(0.5, 1, 2, 5, 10, 30),
)
media_queue_size = Gauge(
    "media_queue_size",
    "Jobs that wait or are worked on, by status waiting or active. Rising without end: add image-processor replicas.",
    ["status"],
)

# --- copies to the bucket ------------------------------------------------------------------------------------------

bucket_copies_waiting = Gauge(
    "mediabus_bucket_copies_waiting",
    "local_first pictures whose copy to the bucket is pending. Rising: the bucket is away, or jobs go before them.",
)
bucket_copies_oldest_seconds = Gauge(
    "mediabus_bucket_copies_oldest_seconds",
    "For how long the oldest pending copy has been wanted; 0 while s3AutoSync is off. The disk holds the only copy.",
)
bucket_copies_given_up = Gauge(
    "mediabus_bucket_copies_given_up",
    "local_first pictures whose copy failed for the last time. They stay local_only until a job of uploads takes them.",
)

# --- deletions -------------------------------------------------------------------------------------------------------

media_deletions_open = Gauge(
    "mediabus_media_deletions_open",
    "Media that go for good and of which somebody has not answered yet; GET /api/admin/media/deletions says who. "
    "Rising: that service, or the store that it waits for, is away.",
)
media_deletions_oldest_seconds = Gauge(
    "mediabus_media_deletions_oldest_seconds",
    "For how long the oldest of them has been open; 0 without one. Above an hour: a store does not let files go, or a "
    "service is stopped.",
)

# --- event photos ----------------------------------------------------------------------------------------------------

face_photos_total = Counter(
    "mediabus_face_photos",
    "Photos of events that were looked at by outcome: indexed, no_face_detected, failed. Many failures: the photos say "
    "why, GET /api/v1/events/{uuid}/photos?status=failed.",
    ["outcome"],
)
face_second_looks_waiting = Gauge(
    "mediabus_face_second_looks_waiting",
    "Photos of events that the wanted face pack has still to look at, as every face-embedder says. Not falling while "
    "no sync runs: its log says why.",
)
face_second_looks_total = Counter(
    "mediabus_face_second_looks",
    "Photos that the wanted face pack has looked at, beside what another had found, by outcome: done, failed.",
    ["outcome"],
)
face_events = Gauge(
    "mediabus_face_events",
    "Events by the face pack that answers their searches, as every face-embedder says. A pack that is not the wanted "
    "one is needed until none is left.",
    ["pack", "version"],
)
face_people_total = Counter(
    "mediabus_face_people",
    "What sorting faces did to the people of events: found (somebody new), united (two were one). As many found as "
    "faces are sorted: photos are too small or blurred to tell people by them.",
    ["outcome"],
)
face_people_changes_total = Counter(
    "mediabus_face_people_changes",
    "What people decided about who is on photos, by kind (name, merge, split, undo) and outcome (done, refused).",
    ["kind", "outcome"],
)
face_searches_total = Counter(
    "mediabus_face_searches",
    "Searches for a face by outcome: answered, no_face, consent_needed, search_off, invalid_request, "
    "service_unavailable. The last one rising: face-embedder is away or too slow.",
    ["outcome"],
)

# --- messaging -------------------------------------------------------------------------------------------------------

HANDLING_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

messages_handled_total = Counter(
    "mediabus_messages_handled",
    "Deliveries by what became of them: done, duplicate, skipped, retried, dead_lettered. "
    "dead_lettered above zero wants a person; duplicates after a deploy or a crash are normal.",
    ["topic", "type", "outcome"],
)
dead_letters_forgotten_total = Counter(
    "mediabus_dead_letters_forgotten",
    "Dead letters that ingest-api keeps no more, by reason: age, number, bytes (it keeps the newest), medium_gone (a "
    "medium went for good, and they with it). number and bytes: a flood that nobody has looked through yet.",
    ["reason"],
)
message_handling_seconds = Histogram(
    "mediabus_message_handling_seconds",
    "How long one attempt of a handler took.",
    ["topic", "type"],
    buckets=HANDLING_BUCKETS,
)
messages_in_flight = Gauge(
    "mediabus_messages_in_flight",
    "Messages taken from Kafka and not finished. At its limit the consumer pauses; that is back-pressure, no fault.",
    ["topic"],
)
consumer_lag_messages = Gauge(
    "mediabus_consumer_lag_messages",
    "Messages in the partitions of this process that are not committed yet. Rising without end: add replicas.",
    ["topic"],
)
consumer_held = Gauge(
    "mediabus_consumer_held",
    "1 while the consumer holds its partitions because a dependency is away; it goes on by itself.",
    ["topic"],
)
facts_lost_total = Counter(
    "mediabus_facts_lost",
    "Progress facts that could not be published directly. Harmless; many of them: Kafka is slow or away.",
    ["type"],
)

# --- the bucket -------------------------------------------------------------------------------------------------------

bucket_events_missed_total = Counter(
    "bucket_events_missed",
    "Objects that the sweep found created or removed and no notification had told of; they are handled all the same. "
    "Rising steadily: see whether the bucket's notifications are set and arrive.",
    ["happened"],
)
rotten_files_total = Counter(
    "mediabus_rotten_files",
    "Stored files whose bytes are not any more those that were written; healed from the other place, or lost. "
    "Above zero: look at the disks; lost ones need a backup.",
    ["place", "outcome"],
)
bucket_notifications_total = Counter(
    "mediabus_bucket_notifications",
    "Records that the store posted to the webhook: stored, repeated (it tells twice), ignored (nothing was written or "
    "removed), invalid. invalid above zero: read the dead letters of ingest-api.",
    ["outcome"],
)

bucket_objects_unknown_total = Counter(
    "mediabus_bucket_objects_unknown",
    "Objects under a prefix of ours that nobody had announced. Above zero: somebody else writes into the bucket; the "
    "reconciler shows what lies there.",
    ["prefix"],
)
direct_uploads_total = Counter(
    "mediabus_direct_uploads",
    "Direct uploads: announced, received, refused (expired ones too). Announced without received: senders can't reach "
    "the bucket, or its notifications don't arrive.",
    ["outcome"],
)

photo_uploads_total = Counter(
    "mediabus_photo_uploads",
    "Photos uploaded to events: stored, duplicate (the event has the content), settled (broken off behind the bucket, "
    "and finished by the sweep), given_up (never came into the bucket, or the event was deleted or over). settled and "
    "given_up above zero: processes die, or the bucket or PostgreSQL is away, in the middle of uploads.",
    ["outcome"],
)

set_aside_files = Gauge(
    "mediabus_set_aside_files",
    "Files below set-aside/ that nobody comes for, seen by the last sweep. Above zero: a change could be neither made "
    "nor taken back, and these may be the only copies; or a store does not let them go.",
)

# --- repairs ----------------------------------------------------------------------------------------------------------

reconcile_runs_ended_total = Counter(
    "mediabus_reconcile_runs_ended",
    "Comparisons and repairs that ended, by how. failed above zero: a listing broke off, or others' facts stay away; "
    "the run's error says which.",
    ["scope", "status"],
)
reconcile_run_oldest_seconds = Gauge(
    "mediabus_reconcile_run_oldest_seconds",
    "For how long the oldest run that is queued or under way has not changed. Rising without end: s3-syncer or the "
    "bucket is away, or the run fails over and over; the log of reconciler says why.",
)
plans_waiting = Gauge("mediabus_plans_waiting", "Plans of repairs that wait for a person to approve or discard them.")
plan_waiting_oldest_seconds = Gauge(
    "mediabus_plan_waiting_oldest_seconds", "For how long the oldest of them has been waiting; 0 without one."
)
quarantine_files = Gauge("mediabus_quarantine_files", "Removed or replaced files that undo can still bring back.")
quarantine_bytes = Gauge(
    "mediabus_quarantine_bytes", "Their size. Rising: repairs remove much; read the newest plans and what they found."
)
quarantine_overdue_seconds = Gauge(
    "mediabus_quarantine_overdue_seconds",
    "For how long the oldest of them should have been gone; 0 without one. Rising: the bucket does not let them go.",
)
alerts_given_up = Gauge(
    "mediabus_alerts_given_up",
    "Alerts of the last day that got through on no attempt. Above zero: the webhook or the mail server refuses them.",
)

# --- schedules --------------------------------------------------------------------------------------------------------

schedule_runs_ended_total = Counter(
    "mediabus_schedule_runs_ended",
    "Runs of schedules that ended, by how. failed: a service could not do its part, and the run says which and why; "
    "open: a service did not answer in time.",
    ["schedule", "status"],
)
schedule_late_seconds = Gauge(
    "mediabus_schedule_late_seconds",
    "How long after its due time a schedule was fired last. Minutes: no clock ran meanwhile.",
    ["schedule"],
)
schedule_runs_waiting = Gauge(
    "mediabus_schedule_runs_waiting",
    "Purges that wait for a person to approve or refuse them: they would take more than the guard lets pass.",
)
schedule_overdue_seconds = Gauge(
    "mediabus_schedule_overdue_seconds",
    "For how long the schedule that is due longest has not been fired; 0 without one. Rising: the clock does not get "
    "on.",
)

# --- outbox ----------------------------------------------------------------------------------------------------------

outbox_published_total = Counter("mediabus_outbox_published", "Outbox rows published.", ["topic"])
outbox_publish_seconds = Histogram(
    "mediabus_outbox_publish_seconds",
    "From the writing of an outbox row, or its due time, until Kafka has it. Rising: Kafka or the relay is slow.",
    buckets=HANDLING_BUCKETS,
)
outbox_unsent = Gauge(
    "mediabus_outbox_unsent",
    "Outbox rows that are due and unsent, seen by the leading relay. Rising: Kafka is away; nothing is lost meanwhile.",
)
outbox_oldest_seconds = Gauge("mediabus_outbox_oldest_seconds", "Age of the oldest unsent outbox row that is due.")
relay_leads = Gauge("mediabus_relay_leads", "1 in the one process per service whose relay publishes.")

# --- the process -----------------------------------------------------------------------------------------------------

event_loop_delay_seconds = Gauge(
    "mediabus_event_loop_delay_seconds",
    "How late the event loop woke from its last short sleep. Above 0.1: something blocks the loop.",
)
background_restarts_total = Counter(
    "mediabus_background_restarts", "Background tasks that failed and were started again; the log says why.", ["task"]
)

# What first appears with its first event shows no increase then: what alerts watch is there from the start.
for _place in ("bucket", "disk"):
    for _outcome in ("healed", "lost"):
        rotten_files_total.labels(_place, _outcome)
for _happened in ("created", "removed"):
    bucket_events_missed_total.labels(_happened)
for _outcome in ("stored", "repeated", "ignored", "invalid"):
    bucket_notifications_total.labels(_outcome)
for _reason in ("number", "bytes"):
    dead_letters_forgotten_total.labels(_reason)
for _outcome in ("announced", "received", "refused"):
    direct_uploads_total.labels(_outcome)
bucket_objects_unknown_total.labels("uploads/")
