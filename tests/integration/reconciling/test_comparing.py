"""Comparing a product with the bucket: nothing follows from half a listing or from a wrong clock."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from reconciler.alerts import Alerts
from reconciler.comparing import Comparing
from reconciler.comparison import FileClass
from reconciler.freshness import Freshness
from reconciler.looking import Looking
from reconciler.planning import Guard
from reconciler.repositories.read_models import ReadModels
from reconciler.repositories.runs import Runs
from reconciler.retention import Retention
from shared.events import (
    FilePlace,
    ProductChangedV1,
    ReconcileScope,
)
from shared.identifiers import new_id
from shared.messaging.topics import Topic
from shared.storage.errors import StoreUnavailable
from shared.storage.keys import MediaKey
from shared.storage.local_disk import LocalDiskStore
from shared.storage.s3 import S3Store
from shared.storage.staging import LocalStaging
from shared.storage.stores import Stores
from shared.testing.waiting import eventually
from tests.integration.reconciling.reconciler_world import Swept, run_command, stored_file
from tests.skewed_store import skewed_store

pytestmark = pytest.mark.stack


class Heard(Freshness):
    """Everything that was told is known."""

    async def wait(self, topics: Sequence[Topic], within_seconds: float) -> None:
        return None


async def compared(swept: Swept, product_id: UUID) -> tuple[str, str | None, list[str]]:
    """Stage, error and planned keys of a run over the product that wants everything repaired."""
    reconciler = swept.reconciler
    settings = reconciler.settings(object_grace_seconds=0)
    command = run_command(scope=ReconcileScope(kind="product", product_id=product_id), requested_by=new_id())
    async with LocalDiskStore(reconciler.folder) as disk:
        stores = Stores(disk, swept.store, LocalStaging(disk))
        looking = Looking(stores, Heard("unused", "reconciler"), settings)
        comparing = Comparing(reconciler.work, looking, Guard(20, 0.1, 1000), Alerts(reconciler.work, []))
        async with reconciler.work.begin() as transaction:
            await Runs(transaction.connection).add(command)
        async with reconciler.work.begin() as transaction:
            run = await Runs(transaction.connection).claim(60)
        assert run is not None
        await comparing.compare(run)
    (row,) = await reconciler.rows("SELECT stage, error FROM runs WHERE run_id = $1", command.run_id)
    sql = "SELECT object_key FROM plan_items WHERE plan_id = $1 ORDER BY object_key"
    return row["stage"], row["error"], [item["object_key"] for item in await reconciler.rows(sql, command.run_id)]


async def test_nothing_follows_from_a_listing_that_breaks_off_half_way(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    product_id = UUID(swept.prefix.split("/")[1])
    product = ProductChangedV1(
        product_id=product_id, version=1, name="Coffee", is_deleted=False, variants=(), changed_at=datetime.now(UTC)
    )
    async with swept.reconciler.work.begin() as transaction:
        await ReadModels(transaction.connection).know_product(product)
    keys = [await swept.put(f"{number}.txt") for number in range(3)]
    whole = swept.store.pages

    async def broken(prefix: str = "", *, start_after: str = "") -> AsyncIterator[Any]:
        async for page in whole(prefix, start_after=start_after):
            yield page[:2]
            raise StoreUnavailable("s3", "cut off")

    monkeypatch.setattr(swept.store, "pages", broken)
    stage, error, planned = await compared(swept, product_id)
    assert (stage, planned) == ("failed", [])
    assert "nothing follows from it" in str(error)
    assert "cut off" in str(error)
    monkeypatch.undo()
    assert await compared(swept, product_id) == ("executing", None, keys)


@pytest.mark.parametrize("hours", [5, -5])
async def test_ages_are_told_by_the_clock_of_the_bucket_however_wrong_it_is(swept: Swept, hours: int) -> None:
    """Ahead, what was left behind would never be old enough; behind, an upload under way would look abandoned."""
    reconciler, product_id = swept.reconciler, UUID(swept.prefix.split("/")[1])
    key = await swept.put("just now.png")
    async with (
        skewed_store(swept.store.settings.endpoint, timedelta(hours=hours)) as endpoint,
        S3Store(swept.store.settings.model_copy(update={"endpoint": endpoint})) as skewed,
        LocalDiskStore(reconciler.folder) as disk,
    ):
        (listed,) = [info async for info in skewed.list(swept.prefix)]
        assert abs(listed.modified_at - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=10)
        stores = Stores(disk, skewed, LocalStaging(disk))

        async def found(grace_seconds: float) -> dict[str, FileClass]:
            settings = reconciler.settings(object_grace_seconds=grace_seconds)
            looking = Looking(stores, Heard("unused", "reconciler"), settings)
            async with reconciler.work.begin() as transaction:
                scope = ReconcileScope(kind="product", product_id=product_id)
                findings = looking.findings(ReadModels(transaction.connection), scope)
                return {finding.key: finding.kind async for finding in findings}

        assert await found(3600) == {key: FileClass.UNSETTLED}

        async def is_old() -> bool:
            return await found(1) == {key: FileClass.ORPHANED_IN_BUCKET}

        await eventually(is_old, within_seconds=20, why="the object is older than a second")


async def test_files_of_an_older_revision_are_nobodys_only_after_a_while(swept: Swept) -> None:
    """Until then they are kept for who has their addresses."""
    reconciler, media_id = swept.reconciler, new_id()
    both = MediaKey(media_id, 1, "original", "webp")
    old, new = MediaKey(media_id, 1, "small", "webp"), MediaKey(media_id, 2, "small", "webp")

    async def processed(revision: int, *keys: MediaKey) -> None:
        files = [stored_file(str(key), b"content") for key in keys]
        async with reconciler.work.begin() as transaction:
            records = ReadModels(transaction.connection)
            await records.know_processed(media_id, revision, files, on_disk=True, in_bucket=False, copy_waits=False)

    async def found(disk: LocalDiskStore, grace_seconds: float) -> dict[str, FileClass]:
        settings = reconciler.settings(media_grace_seconds=grace_seconds, record_grace_seconds=0)
        looking = Looking(Stores(disk, swept.store, LocalStaging(disk)), Heard("unused", "reconciler"), settings)
        async with reconciler.work.begin() as transaction:
            findings = looking.findings(ReadModels(transaction.connection), ReconcileScope(kind="media"))
            return {finding.key: finding.kind async for finding in findings if str(media_id) in finding.key}

    async with LocalDiskStore(reconciler.folder) as disk:
        for key in (both, old, new):
            await disk.put_bytes(str(key), b"content")
            os.utime(reconciler.folder / str(key), (1, 1))
        await processed(1, both, old)
        await processed(2, both, new)
        as_recorded = {str(both): FileClass.SYNCED, str(new): FileClass.SYNCED}
        assert await found(disk, 3600) == {**as_recorded, str(old): FileClass.UNSETTLED}
        assert await found(disk, 0) == {**as_recorded, str(old): FileClass.ORPHANED_ON_DISK}
        async with reconciler.work.begin() as transaction:
            records = ReadModels(transaction.connection)
            named = [await records.is_referenced(str(key), FilePlace.DISK) for key in (both, old, new)]
        assert named == [True, False, True]
        await reconciler.rows("UPDATE media_files SET superseded_at = superseded_at - interval '8 days' RETURNING 1")
        await Retention(reconciler.work, 90 * 24 * 3600).sweep()
        kept = await reconciler.rows("SELECT object_key FROM media_files ORDER BY object_key")
        assert [row["object_key"] for row in kept] == [str(both), str(new)]
