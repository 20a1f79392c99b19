"""What image-processor keeps in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import ImageProcessedV1, StoredFile

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


class ImageRepository:
    """The only reader and writer of this service's tables, inside the caller's transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def record(self, image: ImageProcessedV1, *, attempt: int, staging_key: str | None) -> None:
        """Record a rendered picture and that its staged upload, if it came from one, may go."""
        files = [image.original, *image.variants] if image.original else [*image.variants]
        await self._connection.execute(
            QUERIES["record_image"],
            image.media_id,
            image.revision,
            image.job_id,
            [file.model_dump(mode="json") for file in files],
            image.on_disk,
            image.in_bucket,
            image.width_px,
            image.height_px,
            attempt,
            image.render_seconds,
        )
        if staging_key is not None:
            await self.note_staging_removal(staging_key)

    async def newest_files(self, media_id: UUID) -> list[StoredFile]:
        """The files of the newest revision, as they were published; none for a medium that was never rendered."""
        files = await self._connection.fetchval(QUERIES["newest_files"], media_id)
        return [StoredFile.model_validate(file) for file in files or []]

    async def removals_left(self, *, older_than_seconds: float, limit: int) -> list[str]:
        """Staged uploads that should be gone by now, oldest first."""
        rows = await self._connection.fetch(QUERIES["removals_left"], older_than_seconds, limit)
        return [row["staging_key"] for row in rows]

    async def forget_removal(self, staging_key: str) -> None:
        await self._connection.execute(QUERIES["forget_removal"], staging_key)

    async def lock_medium(self, media_id: UUID) -> None:
        """Until the transaction ends nobody else records a rendering of the medium, or forgets it."""
        await self._connection.execute(QUERIES["lock_medium"], media_id)

    async def is_deleted(self, media_id: UUID) -> bool:
        return bool(await self._connection.fetchval(QUERIES["is_deleted"], media_id))

    async def forget_media(self, media_ids: Sequence[UUID], deletion_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Remove what is known of media, and remember that they go for good; says how many rows of which went.

        Until the transaction ends nobody records a rendering of them.
        """
        await self._connection.execute(QUERIES["lock_media"], list(media_ids))
        await self._connection.execute(QUERIES["note_deleted"], list(media_ids), list(deletion_ids))
        rows = await self._connection.fetch(QUERIES["forget_media"], list(media_ids))
        return {row["media_id"]: row["records"] for row in rows}

    async def note_staging_removal(self, staging_key: str) -> None:
        await self._connection.execute(QUERIES["note_removal"], staging_key)

    async def prune_deleted(self, older_than_seconds: float) -> None:
        await self._connection.execute(QUERIES["prune_deleted"], older_than_seconds)

    async def note_cancelled(self, parent_job_id: UUID) -> None:
        """Remember that nothing more of a selection is to be rendered anew."""
        await self._connection.execute(QUERIES["note_cancelled"], parent_job_id)

    async def is_cancelled(self, parent_job_id: UUID) -> bool:
        return bool(await self._connection.fetchval(QUERIES["is_cancelled"], parent_job_id))

    async def prune_cancelled(self, older_than_seconds: float) -> None:
        await self._connection.execute(QUERIES["prune_cancelled"], older_than_seconds)
