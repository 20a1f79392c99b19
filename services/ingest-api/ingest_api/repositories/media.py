"""The catalogue of media, as PostgreSQL holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ingest_api.catalogue import ORIGINAL, Media
from ingest_api.media_filters import MediaFilter
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import ImageProcessedV1, MediaStorageChangedV1, StorageStatus, StorageStrategy, StoredFile

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "media.sql")


@dataclass(frozen=True, slots=True)
class Shown:
    """The revision of a medium that was shown before a fact was recorded, and its files."""

    private: bool
    revision: int
    files: tuple[StoredFile, ...]


class MediaRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def get(self, media_id: UUID) -> Media | None:
        row = await self._connection.fetchrow(QUERIES["media"], media_id)
        return None if row is None else media_of(row)

    async def newest(self, wanted: MediaFilter, after: UUID | None, limit: int) -> list[Media]:
        """Newest first, behind the id `after`."""
        rows = await self._connection.fetch(
            QUERIES["list_media"],
            min((one for one in (after, wanted.below) if one is not None), default=None),
            wanted.entity_type,
            wanted.entity_id,
            wanted.status,
            wanted.storage_status,
            wanted.deleted,
            pattern_of(wanted.text),
            limit,
            wanted.text,
        )
        return [media_of(row) for row in rows]

    async def describe(self, media_id: UUID, texts: Mapping[str, str | None]) -> Media | None:
        """Set `alt` and `title`, whichever `texts` has; None if there is no such medium."""
        row = await self._connection.fetchrow(
            QUERIES["describe"], media_id, "alt" in texts, texts.get("alt"), "title" in texts, texts.get("title")
        )
        return None if row is None else media_of(row)

    async def record_processed(self, event: ImageProcessedV1) -> Shown | None:
        """Write what a revision came out as and give what was shown before; None if a newer one is shown."""
        row = await self._connection.fetchrow(
            QUERIES["record_processed"],
            event.media_id,
            event.revision,
            event.width_px,
            event.height_px,
            event.original.model_dump() if event.original else None,
            [variant.model_dump() for variant in event.variants],
            event.placeholder,
            event.storage_status,
            event.on_disk,
            event.in_bucket,
            event.job_id,
        )
        return None if row is None else _shown(row)

    async def record_placed(self, event: MediaStorageChangedV1) -> Shown | None:
        """Write where the files of a revision are and give what was shown before.

        None if an older revision or an older fact has changed nothing.
        """
        original = next((file.model_dump() for file in event.files if file.name == ORIGINAL), None)
        row = await self._connection.fetchrow(
            QUERIES["record_placed"],
            event.media_id,
            event.revision,
            event.storage_status,
            event.on_disk,
            event.in_bucket,
            original,
            [file.model_dump() for file in event.files if file.name != ORIGINAL],
            event.changed_at,
        )
        return None if row is None else _shown(row)

    async def record_failed(self, media_id: UUID, revision: int) -> None:
        await self._connection.execute(QUERIES["record_failed"], media_id, revision)

    async def record_resumed(self, media_id: UUID, revision: int) -> None:
        await self._connection.execute(QUERIES["record_resumed"], media_id, revision)


def _shown(row: asyncpg.Record) -> Shown:
    files = [*([row["original"]] if row["original"] else []), *row["variants"]]
    return Shown(row["private"], row["revision"], tuple(map(StoredFile.model_validate, files)))


def pattern_of(text: str | None) -> str | None:
    """For ILIKE: what has the text in it."""
    if not text:
        return None
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def media_of(row: asyncpg.Record) -> Media:
    stored = dict(row)
    for name in stored.keys() - {field.name for field in fields(Media)}:
        del stored[name]
    original, variants = stored["original"], stored["variants"]
    stored["original"] = None if original is None else StoredFile.model_validate(original)
    stored["variants"] = tuple(StoredFile.model_validate(variant) for variant in variants)
    stored["storage_strategy"] = StorageStrategy(stored["storage_strategy"])
    stored["storage_status"] = StorageStatus(stored["storage_status"])
    return Media(**stored)
