"""Golden JSON of every event version: what was once published stays readable, what is published stays the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

import shared.events as events
from shared.events import EVENT_TYPES, Envelope, Event, StorageStatus, StorageStrategy, StoredFile
from shared.messaging.topics import TOPICS

GOLDEN = Path(__file__).with_name("golden")
MEDIA = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
JOB = UUID("01890a5d-ac96-774b-bcce-b302099a8058")
USER = UUID("01890a5d-ac96-774b-bcce-b302099a8059")
PRODUCT = UUID("01890a5d-ac96-774b-bcce-b302099a805a")
TIME = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
FILE = StoredFile(
    name="small",
    key=f"media/57/{MEDIA}/1/small.webp",
    mime_type="image/webp",
    size_bytes=12345,
    sha256=SHA256,
    width_px=640,
    height_px=480,
)

SAMPLES: tuple[Event, ...] = (
    events.MediaDeletedV1(
        media_id=MEDIA,
        version=3,
        revision=2,
        entity_type="product",
        size_bytes=345678,
        files=4,
        deleted_at=TIME,
        deleted_by=USER,
    ),
    events.MediaRestoredV1(media_id=MEDIA, version=4, restored_at=TIME, restored_by=USER),
    events.MediaDeletionBegunV1(
        deletion_id=JOB,
        media_id=MEDIA,
        version=5,
        revision=2,
        keeps_bucket=True,
        reason=events.DeletionReason.RETENTION,
        purge_id=PRODUCT,
        begun_by=None,
        begun_at=TIME,
    ),
    events.MediaDeletionCompletedV1(
        deletion_id=JOB,
        media_id=MEDIA,
        version=6,
        removed_files=4,
        removed_bytes=345678,
        kept_files=4,
        kept_bytes=345678,
        purge_id=None,
        completed_at=TIME,
    ),
    events.MediaPurgeTakenV1(
        purge_id=JOB,
        run_id=PRODUCT,
        begun=(MEDIA,),
        passed_over=(USER,),
        taken_at=TIME,
    ),
    events.ImageMediaForgottenV1(deletion_id=JOB, media_id=MEDIA, records=2, forgotten_at=TIME),
    events.ImageDiscardedV1(job_id=JOB, media_id=MEDIA, revision=2, discarded_at=TIME),
    events.ReconcileMediaForgottenV1(deletion_id=JOB, media_id=MEDIA, records=5, forgotten_at=TIME),
    events.RemoveMediaFilesV1(
        deletion_id=JOB,
        media_id=MEDIA,
        keys=(FILE.key,),
        staging_keys=(f"staging/{JOB}",),
        keeps_bucket=False,
        requested_at=TIME,
    ),
    events.MediaRemovalDelayedV1(
        deletion_id=JOB,
        media_id=MEDIA,
        place=events.FilePlace.BUCKET,
        code="storage_unavailable",
        detail="the bucket does not answer",
        attempts=3,
        next_attempt_at=TIME,
        delayed_at=TIME,
    ),
    events.MediaFilesRemovedV1(
        deletion_id=JOB,
        media_id=MEDIA,
        removed=(events.FileOfMedium(place=events.FilePlace.DISK, key=FILE.key, size_bytes=12345),),
        removed_files=1,
        removed_bytes=12345,
        kept=(events.FileOfMedium(place=events.FilePlace.BUCKET, key=FILE.key, size_bytes=12345),),
        kept_files=1,
        kept_bytes=12345,
        kept_because="s3_delete_with_local_off",
        records=3,
        removed_at=TIME,
    ),
    events.RerenderImageV1(
        job_id=JOB,
        media_id=MEDIA,
        revision=2,
        original=FILE.model_copy(update={"name": "original", "key": f"media/57/{MEDIA}/1/original.webp"}),
        entity_type="product",
        settings_version=3,
        storage_strategy=StorageStrategy.LOCAL_FIRST,
        requested_at=TIME,
    ),
    events.ImageCancelledV1(job_id=JOB, media_id=MEDIA, revision=2, cancelled_at=TIME),
    events.RerenderingCancelledV1(job_id=JOB, cancelled_at=TIME),
    events.MediaRevisionSupersededV1(media_id=MEDIA, revision=1, files=(FILE,), superseded_at=TIME),
    events.MediaUploadedV1(
        media_id=MEDIA,
        job_id=JOB,
        revision=1,
        filename="shoe.jpg",
        mime_type="image/jpeg",
        size_bytes=345678,
        sha256=SHA256,
        entity_type="product",
        entity_id="p-1",
        storage_strategy=StorageStrategy.LOCAL_FIRST,
        uploaded_by=USER,
        uploaded_at=TIME,
    ),
    events.ProcessImageV1(
        job_id=JOB,
        media_id=MEDIA,
        revision=1,
        staging_key=f"staging/{JOB}",
        filename="shoe.jpg",
        mime_type="image/jpeg",
        size_bytes=345678,
        sha256=SHA256,
        entity_type="product",
        entity_id=None,
        storage_strategy=StorageStrategy.BOTH,
        requested_at=TIME,
    ),
    events.ImageProcessedV1(
        job_id=JOB,
        media_id=MEDIA,
        revision=1,
        width_px=1600,
        height_px=1200,
        mime_type="image/jpeg",
        sha256=SHA256,
        original=None,
        variants=(FILE,),
        placeholder="data:image/webp;base64,AAAA",
        storage_status=StorageStatus.LOCAL_ONLY,
        on_disk=True,
        in_bucket=False,
        render_seconds=0.25,
        processed_at=TIME,
    ),
    events.ImageFailedV1(
        job_id=JOB,
        media_id=MEDIA,
        revision=1,
        code="image_truncated",
        detail="the file ends early",
        attempts=1,
        failed_at=TIME,
    ),
    events.ImageRetryScheduledV1(
        job_id=JOB,
        media_id=MEDIA,
        revision=1,
        code="worker_died",
        detail="the worker died",
        attempts=1,
        next_attempt_at=TIME,
    ),
    events.ImageProgressV1(job_id=JOB, media_id=MEDIA, progress=50, attempt=1),
    events.SyncMediaV1(media_id=MEDIA, revision=1, files=(FILE,), requested_at=TIME),
    events.StartSyncJobV1(
        job_id=MEDIA,
        operation=events.SyncOperation.RENAME,
        media_ids=None,
        filter=events.MediaFilter(entity_type="product", storage_status=StorageStatus.SYNCED),
        retry_of=None,
        delete_source=True,
        rename_prefix=("media/57/", "archive/"),
        min_files_for_batching=50,
        batch_size=100,
        requested_by=USER,
        requested_at=TIME,
    ),
    events.SelectSyncMediaV1(job_id=JOB, media_ids=(MEDIA, PRODUCT)),
    events.CancelSyncJobV1(job_id=MEDIA, requested_by=USER, requested_at=TIME),
    events.RunSyncBatchV1(job_id=MEDIA),
    events.SyncJobChangedV1(
        job_id=JOB,
        parent_job_id=MEDIA,
        is_parent=False,
        batch_index=0,
        batch_size=100,
        version=7,
        operation=events.SyncOperation.UPLOAD_TO_S3,
        status=events.SyncJobStatus.FAILED,
        total_files=3,
        processed_files=2,
        failed_files=1,
        total_bytes=30000,
        moved_bytes=12345,
        error="some_failed: the results tell which files and why",
        retry_of=None,
        requested_by=USER,
        created_at=TIME,
        started_at=TIME,
        finished_at=TIME,
        recent_results=(
            events.SyncResult(media_id=MEDIA, status="done", bytes_moved=12345),
            events.SyncResult(media_id=JOB, status="failed", bytes_moved=0, code="conflict", detail="other content"),
        ),
    ),
    events.MediaStorageChangedV1(
        media_id=MEDIA,
        revision=1,
        on_disk=True,
        in_bucket=True,
        storage_status=StorageStatus.SYNCED,
        files=(FILE,),
        changed_at=TIME,
    ),
    events.SettingsChangedV1(
        version=3,
        settings=events.MediaSettings(
            default_storage_strategy=StorageStrategy.BOTH,
            delete_mode="hard",
            soft_delete_retention_days=14,
            auto_cleanup_enabled=False,
            s3_enabled=True,
            s3_auto_sync=False,
            s3_delete_with_local=False,
            s3_bucket="pictures",
            s3_region="eu-central-1",
            s3_endpoint="https://s3.example.org:9000",
            s3_public_url="https://cdn.example.org/pictures",
            hybrid_mode_enabled=True,
            hybrid_pending_below=7,
            hybrid_wait_seconds=4.5,
            upload_limit_bytes=1_000_000,
        ),
        changed_by=USER,
        changed_at=TIME,
    ),
    events.EntityTypeSettingsChangedV1(
        entity_type="product",
        version=2,
        settings=events.EntityTypeSettings(
            variants=(
                events.VariantSettings(name="hero", width_px=1800, format=events.VariantFormat.AVIF, quality=60),
                events.VariantSettings(name="card", width_px=400),
            ),
            strategy=StorageStrategy.LOCAL_ONLY,
            watermark=events.WatermarkSettings(
                text="© Example",
                position=events.WatermarkPosition.CENTER,
                opacity=0.4,
                scale=0.2,
                margin=0.05,
                tiled=True,
                variants=("hero",),
            ),
        ),
        changed_by=USER,
        changed_at=TIME,
    ),
    events.BucketObjectV1(
        bucket="mediabus",
        object_key=f"products/{PRODUCT}/250g/hero-card/front.jpg",
        happened="created",
        event_name="s3:ObjectCreated:Put",
        size_bytes=12345,
        etag="9f86d081884c7d65",
        sequencer="17A1B2C3D4E5F6",
        happened_at=TIME,
        told_by="webhook",
    ),
    events.ProductChangedV1(
        product_id=PRODUCT,
        version=2,
        name="Coffee",
        is_deleted=False,
        variants=(events.ProductVariant(variant_id=MEDIA, weight="250g", is_active=True),),
        changed_at=TIME,
    ),
    events.ProductImageChangedV1(
        product_id=PRODUCT,
        image_id=MEDIA,
        version=1,
        variant_id=JOB,
        weight="250g",
        image_type=events.ProductImageType.HERO_CARD,
        object_key=f"products/{PRODUCT}/250g/hero-card/front.jpg",
        mime_type="image/jpeg",
        size_bytes=12345,
        sha256=SHA256,
        on_disk=True,
        is_settled=True,
        is_removed=False,
        changed_at=TIME,
    ),
    events.RecordsRepairedV1(
        plan_id=JOB,
        product_id=PRODUCT,
        results=(
            events.RecordRepairResult(item_id=MEDIA, done=False, code="variant_unknown", detail="no such weight"),
        ),
        repaired_at=TIME,
    ),
    events.RunFileTaskV1(
        task_id=JOB,
        scope=str(PRODUCT),
        steps=(
            events.FileStep(
                kind="copy",
                source=events.FileAt(place=events.FilePlace.STAGING, key=f"staging/{JOB}"),
                target=events.FileAt(place=events.FilePlace.BUCKET, key=f"products/{PRODUCT}/250g/hero-card/front.jpg"),
                sha256=SHA256,
            ),
        ),
        requested_at=TIME,
    ),
    events.FileTaskEndedV1(
        task_id=JOB,
        scope=str(PRODUCT),
        succeeded=True,
        results=(events.FileStepResult(status="done", size_bytes=12345, sha256=SHA256, etag="9f86d081884c7d65"),),
        ended_at=TIME,
    ),
    events.CheckConsistencyV1(
        question_id=JOB,
        scope=events.ReconcileScope(kind="product", product_id=PRODUCT),
        answer_by=TIME,
    ),
    events.DescribePlanV1(question_id=JOB, plan_id=PRODUCT, after=99, limit=100, answer_by=TIME),
    events.DescribeReportV1(question_id=JOB, report_id=PRODUCT, part=1, answer_by=TIME),
    events.ScheduleDueV1(name="reconcile.nightly", due_at=TIME, run_id=JOB, answer_by=TIME),
    events.ScheduledWorkDoneV1(
        run_id=JOB,
        name="jobs.retention",
        service="ingest-api",
        counts={"jobs": 3},
        error="the disk is away",
        ended_at=TIME,
    ),
    events.HeartbeatV1(
        service="ingest-api",
        instance="ingest-1-42",
        version="0.1.0",
        started_at=TIME,
        told_at=TIME,
        every_seconds=10.0,
        is_ready=False,
        problems={"postgresql": "ConnectionError: refused"},
        lag_messages={"image.events": 3},
        outbox_waiting=7,
        is_stopping=False,
    ),
    events.ScheduleChangedV1(
        name="media.purge",
        version=3,
        cron="0 3 * * *",
        time_zone="Europe/Berlin",
        missed=events.MissedFirings.RUN_ONCE,
        is_paused=False,
        next_due_at=TIME,
        changed_at=TIME,
    ),
    events.ScheduleRunChangedV1(
        run_id=JOB,
        name="media.purge",
        version=2,
        trigger="person",
        status=events.ScheduleRunStatus.OPEN,
        due_at=TIME,
        missed=1,
        started_at=TIME,
        ended_at=TIME,
        answer_by=TIME,
        counts={"media": 3},
        answers=(events.WorkAnswer(service="cleanup-scheduler", counts={"media": 3}, ended_at=TIME),),
        owing=("ingest-api",),
        needs_approval_because="3 of 20 media would be removed",
        requested_by=USER,
        decided_by=USER,
        changed_at=TIME,
    ),
    events.RunScheduleV1(run_id=JOB, name="media.purge", requested_by=USER, requested_at=TIME),
    events.ChangeScheduleV1(
        change_id=JOB,
        name="media.purge",
        cron="30 2 * * *",
        time_zone="America/New_York",
        missed=events.MissedFirings.SKIP,
        is_paused=True,
        requested_by=USER,
        requested_at=TIME,
    ),
    events.DecideOnScheduleRunV1(run_id=JOB, name="media.purge", decision="approve", decided_by=USER, decided_at=TIME),
    events.DescribeDueMediaV1(question_id=JOB, at=TIME, retention_days=30, limit=100, answer_by=TIME),
    events.PurgeMediaV1(
        purge_id=JOB,
        run_id=MEDIA,
        media=(events.MediumToPurge(media_id=MEDIA, deleted_at=TIME),),
        requested_at=TIME,
    ),
    events.AnswerV1(question_id=JOB, body={"orphanedFiles": []}),
    events.StartReconcileRunV1(
        run_id=JOB,
        scope=events.ReconcileScope(kind="products"),
        remove_orphaned=True,
        recreate_missing=False,
        approves=True,
        requested_by=None,
        requested_at=TIME,
    ),
    events.DecideOnPlanV1(
        plan_id=JOB,
        scope=events.ReconcileScope(kind="products"),
        decision="undo",
        decided_by=USER,
        decided_at=TIME,
    ),
    events.ReconcileRunChangedV1(
        run_id=JOB,
        plan_id=MEDIA,
        version=3,
        scope=events.ReconcileScope(kind="products"),
        status=events.RunStatus.AWAITING_APPROVAL,
        remove_orphaned=True,
        recreate_missing=False,
        counts=events.RunCounts(synced=10, orphaned=30, removals=30, removal_bytes=370350),
        needs_approval_because="30 files would be removed",
        requested_by=USER,
        requested_at=TIME,
        changed_at=TIME,
    ),
    events.RepairRecordsV1(
        plan_id=JOB,
        product_id=PRODUCT,
        repairs=(
            events.RecordRepair(
                item_id=MEDIA,
                action="make",
                object_key=f"products/{PRODUCT}/250g/hero-card/front.jpg",
                weight="250g",
                image_type=events.ProductImageType.HERO_CARD,
                mime_type="image/jpeg",
                size_bytes=12345,
                sha256=SHA256,
            ),
        ),
        wanted_at=TIME,
    ),
    events.PhotoEventChangedV1(
        event_id=PRODUCT,
        number=17,
        version=2,
        name="Summer fair",
        auto_index=True,
        is_searchable=True,
        faces_expire_at=TIME,
        is_deleted=False,
        changed_at=TIME,
    ),
    events.SyncEventPhotosV1(
        task_id=JOB,
        event_id=PRODUCT,
        number=17,
        s3_prefix="events/17/previews/",
        requested_by=USER,
        requested_at=TIME,
    ),
    events.AddEventPhotoV1(
        event_id=PRODUCT,
        number=17,
        image_key="events/17/originals/a.jpg",
        uploaded_by=USER,
        uploaded_at=TIME,
    ),
    events.IndexPhotoV1(photo_id=MEDIA, event_id=PRODUCT, generation=1, task_id=JOB),
    events.FaceSyncChangedV1(
        task_id=JOB,
        event_id=PRODUCT,
        version=3,
        status=events.FaceSyncStatus.INDEXING,
        total_found=300,
        new_photos=290,
        skipped=10,
        processed=100,
        failed=1,
        no_face=7,
        originals_missing=2,
        previews_made=5,
        message="Indexing 290 new photos",
        changed_at=TIME,
    ),
    events.EventPhotoChangedV1(
        photo_id=MEDIA,
        event_id=PRODUCT,
        version=2,
        s3_key="events/17/previews/a.jpg",
        image_key="events/17/originals/a.jpg",
        status=events.PhotoStatus.INDEXED,
        faces=3,
        confidence=0.93,
        changed_at=TIME,
    ),
    events.SearchFacesV1(
        question_id=JOB,
        answer_by=TIME,
        event_id=PRODUCT,
        selfie=events.SealedSelfie(key=f"selfies/{JOB}", size_bytes=234567, sha256=SHA256),
        threshold=0.5,
        limit=50,
    ),
    events.EraseFacesV1(
        erasure_id=JOB,
        event_id=PRODUCT,
        faces=(events.FaceToErase(photo_id=MEDIA, box=(10.0, 20.5, 110.0, 140.0)),),
    ),
    events.FacesErasedV1(
        erasure_id=JOB,
        event_id=PRODUCT,
        photos=(events.ErasedPhoto(photo_id=MEDIA, faces=1),),
        erased_at=TIME,
    ),
    events.ChangePeopleV1(
        change_id=JOB,
        event_id=PRODUCT,
        wish=events.NamePerson(person_id=MEDIA, name="Anna", version=7),
        requested_by=USER,
        requested_at=TIME,
    ),
    events.PeopleChangeEndedV1(
        change_id=JOB,
        event_id=PRODUCT,
        is_done=False,
        person_id=MEDIA,
        code="person_changed",
        detail="The person was changed since.",
        ended_at=TIME,
    ),
    events.PersonChangedV1(
        person_id=MEDIA,
        event_id=PRODUCT,
        version=7,
        name="Anna",
        faces=12,
        photos=11,
        cover=events.FacePlace(photo_id=JOB, box=(10.5, 20.0, 110.0, 150.0)),
        is_gone=False,
        merged_into=None,
        changed_at=TIME,
    ),
    events.PhotoPeopleChangedV1(
        photo_id=JOB,
        event_id=PRODUCT,
        version=8,
        width_px=640,
        height_px=427,
        faces=(events.FaceOfPerson(face_id=USER, box=(10.5, 20.0, 110.0, 150.0), person_id=MEDIA),),
        changed_at=TIME,
    ),
)

KEYS = {
    "ingest-1-42",
    str(MEDIA),
    str(JOB),
    str(PRODUCT),
    "media",
    "products",
    "reconcile.nightly",
    "media.purge",
    "jobs.retention",
    "entity-type:product",
    f"product:{PRODUCT}",
    f"mediabus/products/{PRODUCT}/250g/hero-card/front.jpg",
}
"""Of the aggregates that the samples tell of."""


def golden_of(event_type: str) -> Path:
    return GOLDEN / f"{event_type}.json"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.event_type)
def test_event_is_what_it_was(sample: Event) -> None:
    path = golden_of(sample.event_type)
    golden = json.loads(path.read_text())
    published = json.loads(sample.payload())
    # A version may gain optional fields; what it once had it keeps, value by value.
    assert {name: published.get(name) for name in golden} == golden
    assert type(sample).model_validate_json(path.read_bytes()) == sample


def test_every_event_has_a_golden_file_and_a_sample() -> None:
    assert {sample.event_type for sample in SAMPLES} == {name for name in EVENT_TYPES if not name.startswith("test.")}
    assert {path.stem for path in GOLDEN.glob("*.json")} == {sample.event_type for sample in SAMPLES}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.event_type)
def test_events_of_a_newer_version_are_read(sample: Event) -> None:
    newer = json.loads(sample.payload()) | {"a_field_of_tomorrow": 1}
    assert type(sample).model_validate(newer) == sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.event_type)
def test_events_are_frozen_versioned_keyed_and_go_to_a_declared_topic(sample: Event) -> None:
    assert sample.model_config["frozen"] is True
    name, _, version = sample.event_type.rpartition(".v")
    assert name
    assert version.isdigit()
    assert sample.key() in KEYS
    assert sample.topic in TOPICS


def test_envelope_survives_its_headers() -> None:
    envelope = Envelope.new(SAMPLES[0], "/mediabus/ingest-api")
    assert Envelope.from_headers(envelope.headers()) == envelope


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"ce_id": ""}, "ce_id"),
        ({"ce_id": "not-a-uuid"}, "expected a UUID"),
        ({"ce_type": ""}, "ce_type"),
        ({"ce_specversion": "0.3"}, "ce_specversion"),
        ({"ce_time": "yesterday"}, "ce_time"),
    ],
)
def test_bad_envelopes_name_their_fault(changed: dict[str, str], complaint: str) -> None:
    headers = Envelope.new(SAMPLES[0], "/mediabus/ingest-api").headers() | changed
    with pytest.raises(ValueError, match=complaint):
        Envelope.from_headers(headers)
