"""What the records of others are, as events told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from reconciler.comparison import Recorded
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import (
    FilePlace,
    MediaDeletionBegunV1,
    ProductChangedV1,
    ProductImageChangedV1,
    ProductImageType,
    ReconcileScope,
    StoredFile,
)

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "read_models.sql")
ROWS_AT_ONCE = 1000
DELETED_MEDIA_KNOWN_SECONDS = 60 * 24 * 3600.0
"""Longer than facts may come again that would bring a medium back."""


class ReadModels:
    """Products, their images and media, inside the caller's transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    # --- learning -------------------------------------------------------------------------------------------------

    async def know_product(self, event: ProductChangedV1) -> None:
        await self._connection.execute(
            QUERIES["know_product"], event.product_id, event.version, event.name, event.is_deleted
        )

    async def know_image(self, event: ProductImageChangedV1) -> None:
        await self._connection.execute(
            QUERIES["know_image"],
            event.image_id,
            event.product_id,
            event.version,
            event.variant_id,
            event.weight,
            event.image_type.value,
            event.object_key,
            event.mime_type,
            event.size_bytes,
            event.sha256,
            event.on_disk,
            event.is_settled,
            event.is_removed,
        )

    async def know_processed(
        self,
        media_id: UUID,
        revision: int,
        files: Sequence[StoredFile],
        *,
        on_disk: bool,
        in_bucket: bool,
        copy_waits: bool,
    ) -> None:
        """Take over a newly processed revision; an older or the same one changes nothing."""
        known = await self._connection.fetchval(
            QUERIES["know_processed"], media_id, revision, on_disk, in_bucket, copy_waits
        )
        if known:
            await self._know_files(media_id, revision, files)

    async def know_places(
        self,
        media_id: UUID,
        revision: int,
        files: Sequence[StoredFile],
        *,
        on_disk: bool,
        in_bucket: bool,
        copy_waits: bool,
        placed_at: datetime,
    ) -> None:
        """Take over where a medium's files went; what was told earlier of the same revision changes nothing."""
        known = await self._connection.fetchval(
            QUERIES["know_places"], media_id, revision, on_disk, in_bucket, placed_at, copy_waits
        )
        if known:
            await self._know_files(media_id, revision, files)

    async def forget_media(self, events: Sequence[MediaDeletionBegunV1]) -> dict[UUID, int]:
        """Remove what is known of media, and remember that they go for good; says how many rows of which went."""
        media_ids = [event.media_id for event in events]
        await self._connection.execute(
            QUERIES["note_deleted"],
            media_ids,
            [event.deletion_id for event in events],
            [event.keeps_bucket for event in events],
        )
        rows = await self._connection.fetch(QUERIES["forget_media"], media_ids)
        return {row["media_id"]: row["records"] for row in rows}

    async def complete_deletions(self, media_ids: Sequence[UUID]) -> None:
        """Note that media are gone, and remove what was learned while they were being forgotten."""
        await self._connection.execute(QUERIES["complete_deletions"], list(media_ids))
        await self._connection.execute(QUERIES["forget_media"], list(media_ids))

    async def _know_files(self, media_id: UUID, revision: int, files: Sequence[StoredFile]) -> None:
        await self._connection.execute(QUERIES["forget_files"], media_id, revision)
        await self._connection.execute(QUERIES["supersede_files"], media_id)
        values = [file.model_dump(mode="json") for file in files]
        await self._connection.execute(QUERIES["know_files"], media_id, revision, values)

    # --- asking ---------------------------------------------------------------------------------------------------

    async def product_ids(self) -> list[UUID]:
        """Products that are not deleted, in the order of their ids."""
        return [row["product_id"] for row in await self._connection.fetch(QUERIES["product_ids"])]

    async def is_product(self, product_id: UUID) -> bool:
        return bool(await self._connection.fetchval(QUERIES["is_product"], product_id))

    async def now(self) -> datetime:
        """By the clock that stamps `known_at`."""
        now: datetime = await self._connection.fetchval(QUERIES["now"])
        return now

    async def is_referenced(self, key: str, place: FilePlace = FilePlace.BUCKET, sha256: str | None = None) -> bool:
        """Whether any record says now that the file is kept, or to be kept, in a place; with these bytes, if given."""
        on_disk = place is FilePlace.DISK
        return bool(await self._connection.fetchval(QUERIES["is_referenced"], key, on_disk, sha256))

    async def is_deletion_under_way(self, media_id: UUID, place: FilePlace, since: datetime) -> bool:
        """Whether files of a medium may rightly lie in a place where no record names them: it goes, went since then, or
        the bucket keeps them.
        """
        in_bucket = place is FilePlace.BUCKET
        return bool(await self._connection.fetchval(QUERIES["is_deletion_under_way"], media_id, since, in_bucket))

    async def records(self, scope: ReconcileScope, removed_since: datetime) -> AsyncIterator[Sequence[Recorded]]:
        """The records of a scope by key, some at a time, and those removed or superseded since then.

        Needs a transaction, whose snapshot it shows.
        """
        if scope.kind == "product":
            rows = await self._connection.fetch(QUERIES["images_of_product"], removed_since, scope.product_id)
            yield [_image(row) for row in rows]
            return
        name, recorded = ("all_media_files", _media_file) if scope.kind == "media" else ("all_images", _image)
        cursor = await self._connection.cursor(QUERIES[name], removed_since)
        while rows := await cursor.fetch(ROWS_AT_ONCE):
            yield [recorded(row) for row in rows]

    async def prune(self, removed_images_kept_seconds: float, superseded_files_kept_seconds: float) -> None:
        await self._connection.execute(QUERIES["prune_removed_images"], removed_images_kept_seconds)
        await self._connection.execute(QUERIES["prune_superseded_files"], superseded_files_kept_seconds)
        await self._connection.execute(QUERIES["prune_deleted"], DELETED_MEDIA_KNOWN_SECONDS)


def _image(row: Mapping[str, Any]) -> Recorded:
    return Recorded(
        key=row["object_key"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        in_bucket=True,
        on_disk=row["on_disk"],
        is_settled=row["is_settled"],
        is_removed=row["is_removed"],
        known_at=row["known_at"],
        owner_id=row["product_id"],
        record_id=row["image_id"],
        mime_type=row["mime_type"],
        weight=row["weight"],
        image_type=ProductImageType(row["image_type"]),
    )


def _media_file(row: Mapping[str, Any]) -> Recorded:
    return Recorded(
        key=row["object_key"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        in_bucket=row["in_bucket"],
        on_disk=row["on_disk"],
        is_settled=True,
        is_removed=row["is_removed"],
        known_at=row["known_at"],
        owner_id=row["media_id"],
        record_id=row["media_id"],
        mime_type=row["mime_type"],
        copy_waits=row["copy_waits"],
    )
