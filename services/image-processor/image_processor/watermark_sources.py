"""From the watermark of an entity type to what a worker can draw."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from image_processor import errors
from image_processor.repository import ImageRepository
from image_processor.stored_files import StoredFiles
from image_processor.storing import ORIGINAL
from image_processor.watermark_layout import MarkRules
from image_processor.watermarking import MarkPicture, Watermark
from shared.db.pool import Database
from shared.events import StoredFile, WatermarkSettings


class WatermarkSources:
    """Finds the picture of a watermark where it lies now: on the disk, else in the bucket."""

    def __init__(self, database: Database, files: StoredFiles) -> None:
        self._database = database
        self._files = files

    @asynccontextmanager
    async def open(self, settings: WatermarkSettings | None) -> AsyncIterator[Watermark | None]:
        """Give what is drawn; its file stays until the block ends. No watermark is None, a missing one never is.

        Raises TransientError where the picture is missing, Postponed while the bucket that may hold it is away.
        """
        async with AsyncExitStack() as stack:
            yield await self._watermark(settings, stack) if settings else None

    async def _watermark(self, settings: WatermarkSettings, stack: AsyncExitStack) -> Watermark:
        content: str | MarkPicture | None = settings.text
        if settings.picture_media_id is not None:
            content = await self._picture(settings.picture_media_id, stack)
        assert content is not None
        rules = MarkRules(settings.position, settings.scale, settings.margin, settings.tiled)
        variants = None if settings.variants is None else frozenset(settings.variants)
        return Watermark(content, rules, settings.opacity, variants)

    async def _picture(self, media_id: UUID, stack: AsyncExitStack) -> MarkPicture:
        async with self._database.connection() as connection:
            files = await ImageRepository(connection).newest_files(media_id)
        if not files:
            raise errors.watermark_missing(media_id, "it was never rendered here")
        file = best_source(files)
        if (path := await self._files.open(file, stack)) is None:
            raise errors.watermark_missing(media_id, f"its file {file.key} is neither on the disk nor in the bucket")
        return MarkPicture(path, file.sha256)


def best_source(files: Sequence[StoredFile]) -> StoredFile:
    """The original, which never carries a mark itself; where none was kept, the largest variant."""
    return max(files, key=lambda file: (file.name == ORIGINAL, file.width_px))
