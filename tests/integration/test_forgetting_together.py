"""What services do about many media in one batch, on real PostgreSQL: each medium gets what it would alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cleanup_scheduler.repositories.ledger import Ledger
from image_processor.repository import ImageRepository
from reconciler.repositories.read_models import ReadModels
from s3_syncer.deletion_repository import DeletionRepository
from shared.db.pool import Database, PooledConnection
from shared.events import (
    DeletionReason,
    MediaDeletedV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    RemoveMediaFilesV1,
)
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase, TestDatabases

pytestmark = pytest.mark.stack

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MEDIA = sorted(new_id() for _ in range(3))


@pytest.fixture(scope="module")
async def module_database(databases: TestDatabases) -> AsyncIterator[TestDatabase]:
    made = await databases.create()
    yield made
    await databases.drop(made)


@pytest.fixture
async def connection(module_database: TestDatabase, service: str) -> AsyncIterator[PooledConnection[Any]]:
    pool = Database(module_database.dsn(service), application_name="tests")
    async with pool.connection() as connected, connected.transaction():
        yield connected
    await pool.close()


def begun(media_id: UUID, *, keeps_bucket: bool = False) -> MediaDeletionBegunV1:
    return MediaDeletionBegunV1(
        deletion_id=new_id(),
        media_id=media_id,
        version=2,
        revision=1,
        keeps_bucket=keeps_bucket,
        reason=DeletionReason.RETENTION,
        begun_by=None,
        begun_at=NOW,
    )


@pytest.mark.parametrize("service", ["image-processor"])
async def test_image_processor_counts_what_went_of_each_medium(connection: PooledConnection[Any]) -> None:
    first, second, unknown = MEDIA
    for media_id, revision in ((first, 1), (first, 2), (second, 1)):
        await connection.execute(
            "INSERT INTO images (media_id, revision, job_id, files, on_disk, in_bucket, width_px, height_px, attempt,"
            " render_seconds) VALUES ($1, $2, $3, '[]', true, true, 1, 1, 1, 0.1)",
            media_id,
            revision,
            new_id(),
        )
    images = ImageRepository(connection)
    deletion_ids = [new_id() for _ in MEDIA]
    assert await images.forget_media(MEDIA, deletion_ids) == {first: 2, second: 1}
    assert [await images.is_deleted(media_id) for media_id in (first, second, unknown)] == [True] * 3
    assert await images.forget_media(MEDIA[::-1], deletion_ids) == {}, "a second time nothing is left"


@pytest.mark.parametrize("service", ["reconciler"])
async def test_reconciler_counts_what_went_of_each_medium(connection: PooledConnection[Any]) -> None:
    first, second, _ = MEDIA
    for media_id in (first, second):
        await connection.execute(
            "INSERT INTO media (media_id, revision, on_disk, in_bucket) VALUES ($1, 1, true, true)", media_id
        )
    for number in range(2):
        await connection.execute(
            "INSERT INTO media_files (media_id, revision, object_key, mime_type, size_bytes, sha256)"
            " VALUES ($1, 1, $2, 'image/webp', 1, 'x')",
            first,
            f"key {number}",
        )
    models = ReadModels(connection)
    events = [begun(media_id, keeps_bucket=media_id == second) for media_id in MEDIA]
    assert await models.forget_media(events) == {first: 3, second: 1}
    kept = "SELECT media_id FROM deleted_media WHERE keeps_bucket"
    assert [row["media_id"] for row in await connection.fetch(kept)] == [second]
    await models.complete_deletions(MEDIA[:2])
    opened = await connection.fetch("SELECT media_id FROM deleted_media WHERE completed_at IS NULL")
    assert [row["media_id"] for row in opened] == MEDIA[2:]


@pytest.mark.parametrize("service", ["s3-syncer"])
async def test_s3_syncer_notes_the_files_of_each_medium(connection: PooledConnection[Any]) -> None:
    deletions = DeletionRepository(connection)
    events = [begun(media_id, keeps_bucket=media_id == MEDIA[1]) for media_id in MEDIA]
    await deletions.fence(events)
    assert await deletions.deleted_among(MEDIA) == set(MEDIA)
    commands = [
        RemoveMediaFilesV1(
            deletion_id=event.deletion_id,
            media_id=event.media_id,
            keys=tuple(f"{event.media_id}/{number}" for number in range(how_many)),
            staging_keys=("staged",) if how_many == 2 else (),
            keeps_bucket=event.keeps_bucket,
            requested_at=NOW,
        )
        for how_many, event in enumerate(events)
    ]
    await deletions.command(commands[::-1])
    due = {deletion.media_id: deletion for deletion in await deletions.take_due(10, 60)}
    for how_many, event in enumerate(events):
        deletion = due[event.media_id]
        assert (deletion.deletion_id, deletion.keeps_bucket) == (event.deletion_id, event.keeps_bucket)
        assert len(deletion.keys) == how_many
        assert deletion.staging_keys == (("staged",) if how_many == 2 else ())
    await deletions.command(commands[:1])
    assert len(await deletions.take_due(10, 60)) == 1, "a command that comes again is worked off again"


@pytest.mark.parametrize("service", ["cleanup-scheduler"])
async def test_the_ledger_counts_what_each_purge_has_done(connection: PooledConnection[Any]) -> None:
    ledger = Ledger(connection)
    run_id, first, second = new_id(), new_id(), new_id()
    await connection.execute(
        "INSERT INTO runs (run_id, name, trigger, status, due_at, changed_at)"
        " VALUES ($1, 'media.purge', 'person', 'running', $2, $2)",
        run_id,
        NOW,
    )
    await ledger.add_plan(run_id, "sending", NOW, NOW)
    for purge_id, media in ((first, 2), (second, 2)):
        await ledger.add_purge(purge_id, run_id, media, NOW)
        await connection.execute(
            "UPDATE purges SET taken_at = $2, begun = $3 WHERE purge_id = $1", purge_id, NOW, media
        )
    deleted = [
        MediaDeletedV1(
            media_id=media_id,
            version=1,
            revision=1,
            entity_type="product",
            size_bytes=10,
            files=number,
            deleted_at=NOW,
            deleted_by=None,
        )
        for number, media_id in enumerate(MEDIA)
    ]
    await ledger.know_deleted(deleted)
    assert [(one.media_id, one.files) for one in await ledger.due_media(NOW, 10)] == list(
        zip(MEDIA, range(3), strict=True)
    )
    await ledger.know_going([begun(MEDIA[0])])
    assert (await ledger.due(NOW)).media == 2
    completed = [
        MediaDeletionCompletedV1(
            deletion_id=new_id(),
            media_id=media_id,
            version=3,
            removed_files=1,
            removed_bytes=size_bytes,
            kept_files=0,
            kept_bytes=0,
            purge_id=purge_id,
            completed_at=NOW,
        )
        for media_id, size_bytes, purge_id in zip(MEDIA, (1, 20, 300), (first, second, first), strict=True)
    ]
    await ledger.forget([event.media_id for event in completed])
    assert (await ledger.due(NOW)).media == 0
    assert await ledger.note_completed(completed) == {run_id}, "the first is over, the second waits for one more"
    rows = await connection.fetch("SELECT purge_id, completed, removed_bytes FROM purges")
    assert {row["purge_id"]: (row["completed"], row["removed_bytes"]) for row in rows} == {
        first: (2, 301),
        second: (1, 20),
    }
    assert await ledger.outstanding(NOW) == 1
