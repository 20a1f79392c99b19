"""image-processor as a process: commands in, variants and facts out, on real Kafka, PostgreSQL, disk and bucket."""

from __future__ import annotations

import hashlib
import io
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image, ImageStat

from deploy.local.kafka_server import KafkaServer
from deploy.local.object_store import ObjectStoreServer
from shared.events import (
    DeletionReason,
    EntityTypeSettings,
    EntityTypeSettingsChangedV1,
    MediaDeletionBegunV1,
    ProcessImageV1,
    RerenderImageV1,
    RerenderingCancelledV1,
    StorageStrategy,
    StoredFile,
    WatermarkPosition,
    WatermarkSettings,
)
from shared.identifiers import new_id
from shared.messaging.headers import REPLAY
from shared.messaging.topics import IMAGE_EVENTS, IMAGE_PROCESS, SYNC_BATCHES, dead_letter_topic
from shared.storage.keys import MediaKey, staging_key
from shared.testing.pictures import encoded, photo_jpeg, truncated_jpeg
from shared.testing.waiting import eventually
from tests.bus import Bus
from tests.halted_workers import halted_workers
from tests.running_service import RunningService
from tests.system import System, bucket_environment, system_of_its_own

pytestmark = pytest.mark.stack
RENDER_WORKERS = 2


@pytest.fixture(scope="module")
async def system(
    databases: Any, kafka_server: KafkaServer, object_store_server: ObjectStoreServer, tmp_path_factory: Any
) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("image-processor")
    s3 = {
        **bucket_environment(object_store_server),
        "MEDIABUS_CONCURRENCY": "4",
        "MEDIABUS_RENDER_WORKERS": str(RENDER_WORKERS),
    }
    async with system_of_its_own(databases, kafka_server, folder, s3) as made:
        yield made


@pytest.fixture(scope="module")
async def processor(system: System) -> RunningService:
    return await system.started("image-processor")


@pytest.fixture
async def bus(system: System, processor: RunningService) -> AsyncIterator[Bus]:
    async with Bus(system.kafka_bootstrap, IMAGE_EVENTS, SYNC_BATCHES, dead_letter_topic("image-processor")) as made:
        yield made


def staged(
    system: System,
    content: bytes,
    strategy: StorageStrategy = StorageStrategy.LOCAL_ONLY,
    entity_type: str = "product",
) -> ProcessImageV1:
    """Put a file where an upload would have left it, and make its command."""
    key = staging_key(new_id())
    path = system.media_root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return ProcessImageV1(
        job_id=new_id(),
        media_id=new_id(),
        revision=1,
        staging_key=key,
        filename="../../picture.jpg",
        mime_type="image/jpeg",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        entity_type=entity_type,
        storage_strategy=strategy,
        requested_at=datetime.now(UTC),
    )


async def has_lost_progress(processor: RunningService) -> bool:
    """Whether Kafka did not take a fact within its second, which is borne."""
    async with httpx.AsyncClient(base_url=processor.base_url, timeout=30) as client:
        told = (await client.get("/metrics")).text
    return any(line.startswith("mediabus_facts_lost_total{") for line in told.splitlines())


async def test_a_picture_becomes_stored_variants_and_facts(system: System, processor: RunningService, bus: Bus) -> None:
    content = photo_jpeg(2400, 1600)
    command = staged(system, content)
    await bus.send(command)

    fact = await bus.one(command.media_id, "image.processed.v1")
    assert [variant["width_px"] for variant in fact["variants"]] == [2000, 1200, 640, 200]
    assert fact["storage_status"] == "local_only"
    assert fact["placeholder"].startswith("data:image/")
    assert fact["original"]["sha256"] == command.sha256
    for file in [fact["original"], *fact["variants"]]:
        stored = (system.media_root / file["key"]).read_bytes()
        assert len(stored) == file["size_bytes"]
        assert hashlib.sha256(stored).hexdigest() == file["sha256"]
    progress = [entry["progress"] for entry in bus.seen(command.media_id, "image.progress.v1")]
    assert progress == [10, 50, 80] or await has_lost_progress(processor), progress

    async def nothing_is_left_to_remove() -> bool:
        return not await system.rows("image-processor", "SELECT 1 FROM staging_removals")

    await eventually(nothing_is_left_to_remove, why="staging is removed, and noted so")
    assert not (system.media_root / command.staging_key).exists()
    assert not any((system.media_root / "scratch").iterdir())


async def test_duplicate_commands_render_once(system: System, bus: Bus) -> None:
    command = staged(system, photo_jpeg(800, 600))
    event_id = new_id()
    for _ in range(5):
        await bus.send(command, event_id)
    last = staged(system, photo_jpeg(300, 200))
    await bus.send(last)
    await bus.one(last.media_id, "image.processed.v1")
    await bus.one(command.media_id, "image.processed.v1")
    rows = await system.rows("image-processor", "SELECT 1 FROM images WHERE media_id = $1", command.media_id)
    assert len(rows) == 1


async def test_bad_picture_is_refused_at_once_with_its_reason(system: System, bus: Bus) -> None:
    command = staged(system, truncated_jpeg())
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.failed.v1")
    assert fact["code"] == "image_truncated"
    assert fact["attempts"] == 1
    letters = await eventually(lambda: bus.dead_letters(command.media_id), why="its dead letter")
    assert letters[0]["mb_error_code"] == "image_truncated"
    # what was refused stays staged, for a retry by hand; retention removes it
    assert (system.media_root / command.staging_key).exists()


async def test_missing_staged_file_is_retried_and_then_given_up(system: System, bus: Bus) -> None:
    command = staged(system, photo_jpeg(300, 200))
    (system.media_root / command.staging_key).unlink()
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.failed.v1")
    assert fact["attempts"] == 3
    retries = bus.seen(command.media_id, "image.retry-scheduled.v1")
    assert [entry["attempts"] for entry in retries] == [1, 2]


@pytest.mark.parametrize("strategy", [StorageStrategy.S3_ONLY, StorageStrategy.BOTH])
async def test_bucket_strategies(
    system: System, bus: Bus, object_store_server: ObjectStoreServer, strategy: StorageStrategy
) -> None:
    command = staged(system, photo_jpeg(1000, 700), strategy)
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.processed.v1")
    both = strategy is StorageStrategy.BOTH
    assert fact["storage_status"] == ("synced" if both else "s3_only")
    async with object_store_server.client() as client:
        for file in [fact["original"], *fact["variants"]]:
            answer = await client.get_object(Bucket="mediabus", Key=file["key"])
            body = await answer["Body"].read()
            assert hashlib.sha256(body).hexdigest() == file["sha256"]
            assert answer["ContentType"] == file["mime_type"]
            assert (system.media_root / file["key"]).exists() == both


async def test_local_first_commands_the_copy_to_the_bucket(system: System, bus: Bus) -> None:
    command = staged(system, photo_jpeg(700, 500), StorageStrategy.LOCAL_FIRST)
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.processed.v1")
    copy = await bus.one(command.media_id, "sync.media.v1")
    assert fact["storage_status"] == "local_only"
    assert copy["files"] == [fact["original"], *fact["variants"]]


async def set_watermark(
    processor: RunningService, bus: Bus, entity_type: str, version: int, watermark: WatermarkSettings | None
) -> None:
    """Change the settings of an entity type, and wait until the processor knows."""
    await bus.send(
        EntityTypeSettingsChangedV1(
            entity_type=entity_type,
            version=version,
            settings=EntityTypeSettings(watermark=watermark),
            changed_by=new_id(),
            changed_at=datetime.now(UTC),
        )
    )

    async def is_known() -> bool:
        async with httpx.AsyncClient(base_url=processor.base_url, timeout=30) as client:
            ready = (await client.get("/health/ready")).json()
        return bool(ready["details"]["settings"]["versions"].get(f"entity-type:{entity_type}", 0) >= version)

    await eventually(is_known, why="the processor knows the watermark")


def flat(colour: str, width_px: int, height_px: int) -> bytes:
    return encoded(Image.new("RGB", (width_px, height_px), colour), "PNG")


def pixel(system: System, key: str, x_share: float, y_share: float) -> tuple[int, ...]:
    with Image.open(io.BytesIO((system.media_root / key).read_bytes())) as image:
        found = image.convert("RGB").getpixel((int(image.width * x_share), int(image.height * y_share)))
    assert isinstance(found, tuple)
    return tuple(map(int, found))


async def test_the_next_picture_carries_the_text_that_was_set(
    system: System, processor: RunningService, bus: Bus
) -> None:
    mark = WatermarkSettings(text="© Example", opacity=1.0, scale=0.8, position=WatermarkPosition.CENTER)
    await set_watermark(processor, bus, "signed", 1, mark)
    for entity_type, is_marked in (("signed", True), ("product", False)):
        command = staged(system, flat("teal", 900, 600), entity_type=entity_type)
        await bus.send(command)
        fact = await bus.one(command.media_id, "image.processed.v1")
        assert fact["original"]["sha256"] == command.sha256
        for variant in fact["variants"]:
            with Image.open(system.media_root / variant["key"]) as image:
                highest = ImageStat.Stat(image.convert("RGB")).extrema[0][1]
            assert (highest > 150) == is_marked
    await set_watermark(processor, bus, "signed", 2, None)
    command = staged(system, flat("teal", 400, 300), entity_type="signed")
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.processed.v1")
    assert pixel(system, fact["variants"][0]["key"], 0.5, 0.5)[0] < 20


@pytest.mark.parametrize("strategy", [StorageStrategy.LOCAL_ONLY, StorageStrategy.S3_ONLY])
async def test_a_medium_becomes_the_mark_of_others_wherever_it_is_stored(
    system: System, processor: RunningService, bus: Bus, strategy: StorageStrategy
) -> None:
    logo = staged(system, flat("red", 300, 300), strategy)
    await bus.send(logo)
    await bus.one(logo.media_id, "image.processed.v1")
    entity_type = f"with-logo-{strategy.value}".replace("_", "-")
    mark = WatermarkSettings(
        picture_media_id=logo.media_id, opacity=0.5, scale=0.2, margin=0.1, variants=("large", "medium", "small")
    )
    await set_watermark(processor, bus, entity_type, 1, mark)
    command = staged(system, flat("black", 1000, 1000), entity_type=entity_type)
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.processed.v1")
    for variant in fact["variants"]:
        red = 0 if variant["name"] == "thumb" else 127
        assert pixel(system, variant["key"], 0.8, 0.8) == pytest.approx((red, 0, 0), abs=12)
        assert pixel(system, variant["key"], 0.95, 0.95) == pytest.approx((0, 0, 0), abs=12)
    assert pixel(system, fact["original"]["key"], 0.8, 0.8) == (0, 0, 0)


async def test_without_its_mark_a_picture_fails_and_says_why(
    system: System, processor: RunningService, bus: Bus
) -> None:
    await set_watermark(processor, bus, "lost-logo", 1, WatermarkSettings(picture_media_id=new_id()))
    command = staged(system, photo_jpeg(300, 200), entity_type="lost-logo")
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.failed.v1", within_seconds=60)
    assert (fact["code"], fact["attempts"]) == ("watermark_missing", 3)
    await set_watermark(processor, bus, "undrawable", 1, WatermarkSettings(text="中"))
    command = staged(system, photo_jpeg(300, 200), entity_type="undrawable")
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.failed.v1")
    assert (fact["code"], fact["attempts"]) == ("watermark_text_undrawable", 1)
    assert (system.media_root / command.staging_key).exists()


def rerender_of(fact: dict[str, Any], *, revision: int = 2, **changes: Any) -> RerenderImageV1:
    """The wish to have a picture rendered anew that was told of."""
    values: dict[str, Any] = {
        "job_id": new_id(),
        "media_id": UUID(fact["media_id"]),
        "revision": revision,
        "original": StoredFile.model_validate(fact["original"]),
        "entity_type": "product",
        "settings_version": 0,
        "storage_strategy": StorageStrategy.LOCAL_ONLY,
        "requested_at": datetime.now(UTC),
    }
    return RerenderImageV1(**(values | changes))


async def rendered(system: System, bus: Bus, content: bytes, **options: Any) -> dict[str, Any]:
    command = staged(system, content, **options)
    await bus.send(command)
    return await bus.one(command.media_id, "image.processed.v1")


def stored_bytes(system: System, fact: dict[str, Any]) -> dict[str, bytes]:
    files = [fact["original"], *fact["variants"]]
    return {file["key"]: (system.media_root / file["key"]).read_bytes() for file in files}


async def test_a_further_revision_is_made_of_the_original_beside_the_first(
    system: System, processor: RunningService, bus: Bus
) -> None:
    first = await rendered(system, bus, photo_jpeg(900, 600), entity_type="later-signed")
    before = stored_bytes(system, first)
    mark = WatermarkSettings(text="Größe €", opacity=1.0, scale=0.8, position=WatermarkPosition.CENTER)
    await set_watermark(processor, bus, "later-signed", 1, mark)
    command, event_id = rerender_of(first, entity_type="later-signed", settings_version=1), new_id()
    for _ in range(4):
        await bus.send(command, event_id)
    facts = await eventually(
        lambda: [fact for fact in bus.seen(command.media_id, "image.processed.v1") if fact["revision"] == 2],
        within_seconds=30,
        why="the further revision",
    )
    again = rerender_of(first, entity_type="later-signed", settings_version=1, revision=3)
    await bus.send(again)
    await eventually(lambda: len(bus.seen(command.media_id, "image.processed.v1")) >= 3, why="the one behind them")
    assert [fact["revision"] for fact in bus.seen(command.media_id, "image.processed.v1")] == [1, 2, 3]
    [second] = facts
    assert second["job_id"] == str(command.job_id)
    assert stored_bytes(system, first) == before
    assert second["original"]["sha256"] == first["original"]["sha256"]
    assert [variant["name"] for variant in second["variants"]] == [variant["name"] for variant in first["variants"]]
    after = stored_bytes(system, second)
    assert not set(before) & set(after)
    assert not {hashlib.sha256(content).hexdigest() for content in before.values()} & {
        variant["sha256"] for variant in second["variants"]
    }
    third = bus.seen(command.media_id, "image.processed.v1")[2]
    assert [file["sha256"] for file in third["variants"]] == [file["sha256"] for file in second["variants"]]
    rows = await system.rows("image-processor", "SELECT 1 FROM images WHERE media_id = $1", command.media_id)
    assert len(rows) == 3


async def test_a_further_revision_waits_for_the_settings_that_it_is_for(
    system: System, processor: RunningService, bus: Bus
) -> None:
    first = await rendered(system, bus, photo_jpeg(400, 300), entity_type="not-yet")
    command = rerender_of(first, entity_type="not-yet", settings_version=1)
    await bus.send(command)
    await eventually(lambda: "settings_behind" in processor.tail(), within_seconds=30, why="it is put off")
    assert len(bus.seen(command.media_id, "image.processed.v1")) == 1
    await set_watermark(processor, bus, "not-yet", 1, WatermarkSettings(text="there"))
    await eventually(
        lambda: len(bus.seen(command.media_id, "image.processed.v1")) == 2, within_seconds=120, why="it is rendered"
    )
    sql = "SELECT attempt FROM images WHERE media_id = $1 AND revision = 2"
    assert [row["attempt"] for row in await system.rows("image-processor", sql, command.media_id)] == [1]


@pytest.mark.parametrize(("damage", "code"), [("remove", "original_missing"), ("change", "original_damaged")])
async def test_without_its_original_a_picture_is_not_rendered_anew(
    system: System, bus: Bus, damage: str, code: str
) -> None:
    first = await rendered(system, bus, photo_jpeg(400, 300))
    path = system.media_root / first["original"]["key"]
    content = path.read_bytes()
    path.unlink()
    if damage == "change":
        path.write_bytes(photo_jpeg(400, 300, seed=9)[: len(content)].ljust(len(content), b"\0"))
    command = rerender_of(first)
    await bus.send(command)
    failed = await bus.one(command.media_id, "image.failed.v1")
    assert (failed["code"], failed["revision"], failed["attempts"]) == (code, 2, 1)
    assert all((system.media_root / variant["key"]).exists() for variant in first["variants"])


async def test_the_original_is_found_in_the_bucket_and_where_a_newer_rendering_put_it(system: System, bus: Bus) -> None:
    first = await rendered(system, bus, photo_jpeg(400, 300), strategy=StorageStrategy.S3_ONLY)
    for revision, strategy in ((2, StorageStrategy.S3_ONLY), (3, StorageStrategy.BOTH)):
        await bus.send(rerender_of(first, revision=revision, storage_strategy=strategy))
    facts = await eventually(
        lambda: found if len(found := bus.seen(UUID(first["media_id"]), "image.processed.v1")) == 3 else None,
        within_seconds=30,
        why="both revisions",
    )
    assert [fact["storage_status"] for fact in facts] == ["s3_only", "s3_only", "synced"]
    assert (system.media_root / facts[2]["original"]["key"]).exists()
    gone = StoredFile.model_validate(first["original"]).model_copy(update={"key": "media/00/gone/1/original.jpg"})
    await bus.send(rerender_of(first, revision=4, original=gone))
    await eventually(
        lambda: len(bus.seen(UUID(first["media_id"]), "image.processed.v1")) == 4, within_seconds=30, why="the fourth"
    )


async def test_uploads_overtake_pictures_that_are_rendered_anew(system: System, bus: Bus) -> None:
    first = await rendered(system, bus, photo_jpeg(2400, 1600))
    count = 24
    wishes = [rerender_of(first, media_id=new_id()) for _ in range(count)]
    for wish in wishes:
        await bus.send(wish)

    def done() -> int:
        return sum(bool(bus.seen(wish.media_id, "image.processed.v1")) for wish in wishes)

    await eventually(lambda: done() > 0, within_seconds=60, why="the first is rendered anew")
    uploads = [staged(system, photo_jpeg(800, 600)) for _ in range(3)]
    for upload in uploads:
        await bus.send(upload)
    for upload in uploads:
        await bus.one(upload.media_id, "image.processed.v1", within_seconds=60)
    await eventually(lambda: done() == count, within_seconds=120, why="the others follow")

    def ended_at(media_id: UUID) -> datetime:
        """As it is told: who reads that may be slow."""
        (fact,) = bus.seen(media_id, "image.processed.v1")
        return datetime.fromisoformat(fact["processed_at"])

    last_upload_at = max(ended_at(upload.media_id) for upload in uploads)
    assert sum(ended_at(wish.media_id) > last_upload_at for wish in wishes) > 5


def given_up(media_id: UUID) -> MediaDeletionBegunV1:
    return MediaDeletionBegunV1(
        deletion_id=new_id(),
        media_id=media_id,
        version=1,
        revision=1,
        keeps_bucket=False,
        reason=DeletionReason.REQUESTED,
        begun_by=None,
        begun_at=datetime.now(UTC),
    )


async def test_what_goes_for_good_is_forgotten_and_rendered_no_more(system: System, bus: Bus) -> None:
    command = staged(system, photo_jpeg(320, 240))
    await bus.send(command)
    fact = await bus.one(command.media_id, "image.processed.v1")
    begun = given_up(command.media_id)
    await bus.send(begun)
    answer = await bus.one(command.media_id, "image.media-forgotten.v1")
    assert (answer["deletion_id"], answer["records"]) == (str(begun.deletion_id), 1)
    known = await system.rows("image-processor", "SELECT FROM images WHERE media_id = $1", command.media_id)
    assert known == []
    rerender = rerender_of(fact)
    await bus.send(rerender)
    discarded = await bus.one(command.media_id, "image.discarded.v1")
    assert (discarded["job_id"], discarded["revision"]) == (str(rerender.job_id), 2)
    assert not (system.media_root / fact["original"]["key"].replace("/1/", "/2/")).exists()


async def test_a_rendering_that_ends_too_late_is_discarded(system: System, processor: RunningService, bus: Bus) -> None:
    command = staged(system, photo_jpeg(400, 300))
    with halted_workers(processor, RENDER_WORKERS):
        await bus.send(command)
        await eventually(
            lambda: any((system.media_root / "scratch").glob(f"{command.media_id}-*")),
            why="the rendering has begun",
        )
        await bus.send(given_up(command.media_id))
        sql = "SELECT FROM deleted_media WHERE media_id = $1"
        await eventually(
            lambda: system.rows("image-processor", sql, command.media_id),
            why="the deletion is known",
        )
    discarded = await bus.one(command.media_id, "image.discarded.v1", within_seconds=60)
    assert discarded["job_id"] == str(command.job_id)
    assert bus.seen(command.media_id, "image.processed.v1") == []
    assert await system.rows("image-processor", "SELECT FROM images WHERE media_id = $1", command.media_id) == []

    async def staged_file_is_gone() -> bool:
        return not (system.media_root / command.staging_key).exists()

    await eventually(staged_file_is_gone, why="the staged file goes with the rendering")


async def cancelled_parent(system: System, bus: Bus) -> UUID:
    """A selection of which image-processor knows that it was cancelled."""
    parent_id = new_id()
    await bus.send(RerenderingCancelledV1(job_id=parent_id, cancelled_at=datetime.now(UTC)))
    sql = "SELECT FROM cancelled_rerenders WHERE parent_job_id = $1"
    await eventually(
        lambda: system.rows("image-processor", sql, parent_id), within_seconds=30, why="the cancelling is known"
    )
    return parent_id


async def test_of_a_cancelled_selection_nothing_is_begun(system: System, bus: Bus) -> None:
    first = await rendered(system, bus, photo_jpeg(400, 300))
    parent_id = await cancelled_parent(system, bus)
    commands = [rerender_of(first, media_id=new_id(), parent_job_id=parent_id) for _ in range(8)]
    ids = {command.job_id: new_id() for command in commands}
    for _ in range(2):
        for command in commands:
            await bus.send(command, ids[command.job_id])
    deleted = rerender_of(first, media_id=new_id(), parent_job_id=parent_id)
    await bus.send(given_up(deleted.media_id))
    await bus.one(deleted.media_id, "image.media-forgotten.v1", within_seconds=30)
    await bus.send(deleted)
    await bus.one(deleted.media_id, "image.discarded.v1", within_seconds=30)
    # Those of another parent are rendered: behind them all are answered.
    other = [rerender_of(first, media_id=command.media_id, revision=3, parent_job_id=new_id()) for command in commands]
    for command in other:
        await bus.send(command)
    for command in other:
        assert (await bus.one(command.media_id, "image.processed.v1", within_seconds=60))["revision"] == 3
    for command in commands:
        [answer] = bus.seen(command.media_id, "image.cancelled.v1")
        assert (answer["job_id"], answer["revision"]) == (str(command.job_id), 2)
        assert bus.seen(command.media_id, "image.failed.v1") == []
        key = MediaKey(command.media_id, 2, "original", "jpg")
        assert not (system.media_root / str(key)).parent.exists()
    replayed = commands[0]
    await bus.send(replayed, ids[replayed.job_id], {REPLAY: new_id().hex})
    await eventually(
        lambda: len(bus.seen(replayed.media_id, "image.processed.v1")) == 2, within_seconds=60, why="it is rendered"
    )


async def test_what_was_begun_before_it_was_cancelled_ends(system: System, processor: RunningService, bus: Bus) -> None:
    first = await rendered(system, bus, photo_jpeg(400, 300))
    parent_id = new_id()
    begun, queued = (rerender_of(first, media_id=new_id(), parent_job_id=parent_id) for _ in range(2))
    with halted_workers(processor, RENDER_WORKERS):
        await bus.send(begun)
        await eventually(
            lambda: any((system.media_root / "scratch").glob(f"{begun.media_id}-*")),
            within_seconds=30,
            why="the rendering has begun",
        )
        await bus.send(RerenderingCancelledV1(job_id=parent_id, cancelled_at=datetime.now(UTC)))
        sql = "SELECT FROM cancelled_rerenders WHERE parent_job_id = $1"
        await eventually(
            lambda: system.rows("image-processor", sql, parent_id), within_seconds=30, why="the cancelling is known"
        )
        await bus.send(queued)
        # While nothing can be rendered: it costs no worker.
        await bus.one(queued.media_id, "image.cancelled.v1", within_seconds=30)
    await bus.one(begun.media_id, "image.processed.v1", within_seconds=60)
    assert bus.seen(begun.media_id, "image.cancelled.v1") == []


async def test_operators_pages(system: System, processor: RunningService, bus: Bus) -> None:
    await rendered(system, bus, photo_jpeg(64, 48))
    refused = staged(system, truncated_jpeg())
    await bus.send(refused)
    await bus.one(refused.media_id, "image.failed.v1")
    async with httpx.AsyncClient(base_url=processor.base_url, timeout=30) as client:
        assert (await client.get("/health/live")).json()["status"] == "live"
        ready = (await client.get("/health/ready")).json()
        assert ready["checks"] == {"postgresql": "ok", "kafka": "ok"}
        metrics = (await client.get("/metrics")).text
        assert 'media_jobs_processed_total{entity_type="product",status="success"}' in metrics
        assert 'media_jobs_processed_total{entity_type="product",status="failed"}' in metrics
        for bound in ("0.5", "1.0", "2.0", "5.0", "10.0", "30.0"):
            assert f'media_processing_duration_seconds_bucket{{entity_type="product",le="{bound}"}}' in metrics
        document = (await client.get("/asyncapi.json")).json()
        assert document["asyncapi"] == "3.0.0"
        assert "image.process.v1" in document["components"]["messages"]
        assert "ProcessImageV1" in document["components"]["schemas"]
        assert (await client.get("/asyncapi")).status_code == 200
        assert (await client.get("/nothing")).status_code == 404


async def test_sigterm_under_load_loses_and_doubles_nothing(system: System, bus: Bus) -> None:
    """The process is ended and replaced while pictures are in hand; every one ends completed once."""
    second = await system.started("image-processor")
    commands = [staged(system, photo_jpeg(1600, 1200)) for _ in range(24)]
    for command in commands:
        await bus.send(command)
    await eventually(
        lambda: bus.seen(commands[0].media_id, "image.progress.v1"), within_seconds=60, why="work has begun"
    )
    assert await second.stop() == 0
    third = await system.started("image-processor")
    for command in commands:
        await bus.one(command.media_id, "image.processed.v1", within_seconds=60)
    assert await third.stop() == 0
    for command in commands:
        assert len(bus.seen(command.media_id, "image.processed.v1")) == 1
    assert not await system.rows("image-processor", "SELECT 1 FROM images WHERE attempt > 1")


async def test_kill_9_in_the_middle_of_pictures(system: System, processor: RunningService, bus: Bus) -> None:
    await processor.stop()
    victim = await system.started("image-processor")
    commands = [staged(system, photo_jpeg(1600, 1200)) for _ in range(8)]
    for command in commands:
        await bus.send(command)
    await eventually(
        lambda: any(bus.seen(command.media_id, "image.progress.v1") for command in commands),
        within_seconds=60,
        why="work has begun",
    )
    victim.signal(signal.SIGKILL)
    await eventually(lambda: not victim.running, why="it is dead")
    processor.start()
    await processor.wait_until_ready()
    for command in commands:
        await bus.one(command.media_id, "image.processed.v1", within_seconds=60)
    assert IMAGE_PROCESS.kind == "commands"
    rows = await system.rows(
        "image-processor", "SELECT 1 FROM images WHERE media_id = ANY($1)", [c.media_id for c in commands]
    )
    assert len(rows) == len(commands)
    await eventually(
        lambda: not any((system.media_root / command.staging_key).exists() for command in commands),
        within_seconds=60,
        why="staging is removed",
    )
