"""The uploaded file of a medium that was rendered before."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

from image_processor import errors
from image_processor.repository import ImageRepository
from image_processor.stored_files import StoredFiles
from image_processor.storing import ORIGINAL
from shared.db.pool import Database
from shared.events import StoredFile
from shared.storage.errors import ChecksumMismatch


class Originals:
    """Finds the original where the catalogue knew it, else where a rendering that was newer has put its copy."""

    def __init__(self, database: Database, files: StoredFiles) -> None:
        self._database = database
        self._files = files

    async def open(self, media_id: UUID, original: StoredFile, stack: AsyncExitStack) -> Path:
        """Its path, for reading, until the stack closes.

        Raises PermanentError where it is gone or damaged, Postponed while the bucket that may hold it is away.
        """
        try:
            if (path := await self._files.open(original, stack)) is not None:
                return path
            for copy in await self._copies(media_id, original):
                if (path := await self._files.open(copy, stack)) is not None:
                    return path
        except ChecksumMismatch as error:
            raise errors.original_damaged(media_id, original.key) from error
        raise errors.original_missing(media_id, original.key)

    async def _copies(self, media_id: UUID, original: StoredFile) -> list[StoredFile]:
        async with self._database.connection() as connection:
            newest = await ImageRepository(connection).newest_files(media_id)
        return [file for file in newest if file.name == ORIGINAL and file.sha256 == original.sha256]
