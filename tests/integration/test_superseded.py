"""What goes with a superseded revision, and what does not: on a real PostgreSQL, disk and bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from deploy.local.object_store import ObjectStoreServer
from s3_syncer.superseded import Superseded
from shared.db.unit_of_work import UnitOfWork
from shared.events import Envelope, MediaRevisionSupersededV1, StoredFile
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled
from shared.storage.errors import StoreUnavailable
from shared.storage.keys import MediaKey, media_prefix
from shared.storage.object_store import ObjectStore
from shared.testing.databases import TestDatabase
from tests.syncer_ground import syncer_ground

pytestmark = pytest.mark.stack


@dataclass
class Site:
    """`stores` are the disk and the bucket."""

    unit_of_work: UnitOfWork
    stores: list[ObjectStore]
    rows: asyncpg.Connection[Any]

    def superseded(self, kept_seconds: float = 0.0, stores: list[ObjectStore] | None = None) -> Superseded:
        return Superseded(self.unit_of_work, stores or self.stores, kept_seconds=kept_seconds)

    async def put(self, *keys: str) -> None:
        for store in self.stores:
            for key in keys:
                await store.put_bytes(key, b"content")

    async def know(self, media_id: UUID, revision: int, *keys: str) -> None:
        files = [file(key).model_dump(mode="json") for key in keys]
        await self.rows.execute(
            "INSERT INTO media (media_id, revision, files, on_disk) VALUES ($1, $2, $3::text::jsonb, true)",
            media_id,
            revision,
            str(files).replace("'", '"'),
        )

    async def left(self, prefix: str) -> set[str]:
        """The same in both stores."""
        found = [{info.key async for info in store.list(prefix)} for store in self.stores]
        assert found[0] == found[1]
        return found[0]

    async def noted(self) -> int:
        count: int = await self.rows.fetchval("SELECT count(*) FROM superseded")
        return count


@pytest.fixture
async def site(database: TestDatabase, object_store_server: ObjectStoreServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with syncer_ground(database, object_store_server, tmp_path) as ground:
        yield Site(ground.unit_of_work, [ground.disk, ground.bucket], ground.rows)


def file(key: str) -> StoredFile:
    return StoredFile(
        name="card", key=key, mime_type="image/webp", size_bytes=7, sha256="0" * 64, width_px=1, height_px=1
    )


def fact(media_id: UUID, revision: int, *keys: str) -> MediaRevisionSupersededV1:
    return MediaRevisionSupersededV1(
        media_id=media_id, revision=revision, files=tuple(map(file, keys)), superseded_at=datetime.now(UTC)
    )


def delivery(event: MediaRevisionSupersededV1) -> Delivery:
    envelope = Envelope.new(event, "/tests")
    return Delivery(
        consumer="s3-syncer",
        envelope=envelope,
        topic=event.topic.name,
        partition=0,
        offset=0,
        key=event.key().encode(),
        headers=envelope.headers(),
        payload=event.payload(),
        attempt=1,
    )


def key(media_id: UUID, revision: int, name: str = "card") -> str:
    return str(MediaKey(media_id, revision, name, "webp"))


async def test_a_revision_goes_with_what_older_ones_left_and_newer_ones_stay(site: Site) -> None:
    media_id, other = new_id(), new_id()
    renamed = f"elsewhere/{media_id}/card.webp"
    going = {renamed, key(media_id, 2), key(media_id, 2, "leftover"), key(media_id, 1, "leftover")}
    staying = {key(media_id, 3), key(media_id, 4, "half-rendered")}
    await site.put(*going, *staying, key(other, 1))
    await site.know(media_id, 3, key(media_id, 3))
    superseded = site.superseded()
    event = delivery(fact(media_id, 2, key(media_id, 2), renamed))
    await superseded.note(fact(media_id, 2, key(media_id, 2), renamed), event)
    with pytest.raises(AlreadyHandled):
        await superseded.note(fact(media_id, 2), event)
    await superseded.note(fact(media_id, 2), delivery(fact(media_id, 2)))
    assert await site.noted() == 1

    assert await superseded.remove_some()
    assert not await superseded.remove_some()
    assert await site.left(media_prefix(media_id)) == staying
    assert await site.left("elsewhere/") == set()
    assert await site.left(media_prefix(other)) == {key(other, 1)}
    assert await site.noted() == 0


async def test_files_of_the_present_revision_stay_wherever_they_are(site: Site) -> None:
    media_id = new_id()
    # such a key is left where somebody renames by hand
    await site.put(key(media_id, 1), key(media_id, 1, "kept"))
    await site.know(media_id, 2, key(media_id, 1, "kept"))
    superseded = site.superseded()
    event = fact(media_id, 1, key(media_id, 1), key(media_id, 1, "kept"))
    await superseded.note(event, delivery(event))
    assert await superseded.remove_some()
    assert await site.left(media_prefix(media_id)) == {key(media_id, 1, "kept")}


@pytest.mark.parametrize(
    ("kept_seconds", "revision", "held_seconds", "goes"),
    [
        (0.0, 2, None, True),
        (3600.0, 2, None, False),
        # this service has not heard of a newer one yet
        (0.0, 1, None, False),
        (0.0, 2, 60, False),
        (0.0, 2, -1, True),
    ],
)
async def test_nothing_goes_before_nobody_needs_it(
    site: Site, kept_seconds: float, revision: int, held_seconds: int | None, goes: bool
) -> None:
    media_id = new_id()
    await site.put(key(media_id, 1))
    await site.know(media_id, revision)
    if held_seconds is not None:
        await site.rows.execute(
            "UPDATE media SET held_by = $1, held_until = clock_timestamp() + make_interval(secs => $2)",
            new_id(),
            held_seconds,
        )
    superseded = site.superseded(kept_seconds)
    event = fact(media_id, 1, key(media_id, 1))
    await superseded.note(event, delivery(event))
    assert await superseded.remove_some() == goes
    assert await site.left(media_prefix(media_id)) == (set() if goes else {key(media_id, 1)})
    assert await site.noted() == (0 if goes else 1)


class Away:
    """A bucket that does not answer."""

    name = "s3"

    async def list(self, prefix: str) -> AsyncIterator[Any]:
        raise StoreUnavailable("s3", "no answer")
        yield


async def test_a_store_that_is_away_is_asked_again_later(site: Site) -> None:
    media_id = new_id()
    await site.put(key(media_id, 1))
    await site.know(media_id, 2)
    event = fact(media_id, 1, key(media_id, 1))
    while_away = site.superseded(stores=[site.stores[0], Away()])  # type: ignore[list-item]
    await while_away.note(event, delivery(event))
    assert not await while_away.remove_some()
    assert await site.noted() == 1
    superseded = site.superseded()
    assert not await superseded.remove_some()
    await site.rows.execute("UPDATE superseded SET due_at = clock_timestamp()")
    assert await superseded.remove_some()
    assert await site.left(media_prefix(media_id)) == set()
    assert await site.noted() == 0
