"""Many pictures as one multipart/form-data: `file` parts, or one that is a ZIP archive; each file is staged alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

from ingest_api.multipart_upload import FILE_FIELD, FormParts, display_name, recognise
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from ingest_api.zip_stream import (
    ARCHIVE_MAGICS,
    ArchiveTooLarge,
    BrokenArchive,
    EntryEnd,
    EntryRefusal,
    EntryStart,
    ZipEvent,
    ZipLimits,
    ZipReader,
)
from shared.identifiers import new_id
from shared.picture_types import SNIFF_BYTES, PictureType
from shared.storage.errors import LimitExceeded
from shared.storage.staging import StagedFile, Staging, StagingWriter


@dataclass(frozen=True, slots=True)
class ArrivedFile:
    """A file of a bulk upload: staged, with the job that it is to have, or refused."""

    filename: str
    job_id: UUID
    picture_type: PictureType | None
    staged: StagedFile | None
    refusal: EntryRefusal | None


class PictureShelf:
    """Stages one file after the other. A refused one leaves nothing; an exception that leaves `stack` removes all."""

    def __init__(self, stack: AsyncExitStack, staging: Staging, *, file_bytes: int, most_files: int) -> None:
        self.files: list[ArrivedFile] = []
        self._stack = stack
        self._staging = staging
        self._file_bytes = file_bytes
        self._most_files = most_files
        self._open: _OpenFile | None = None

    async def begin(self, filename: str) -> None:
        """Raises Problem 413 for one file too many."""
        if len(self.files) >= self._most_files:
            detail = f"A bulk upload may have {self._most_files} files at most: send the others in another one."
            raise Problem(413, "too_large", detail)
        job_id, own = new_id(), AsyncExitStack()
        writer = await own.enter_async_context(self._staging.receive(job_id, limit_bytes=self._file_bytes))
        self._stack.push_async_exit(own)
        self._open = _OpenFile(display_name(filename), job_id, writer, own)

    async def add(self, data: bytes) -> None:
        """Write, unless the file is refused already."""
        assert self._open is not None
        try:
            await self._open.add(data)
        except (Problem, LimitExceeded) as error:
            await self._refuse(self._open, _refusal(error))

    async def end(self, refusal: EntryRefusal | None = None) -> None:
        """The file is whole, or refused for what its archive says of it."""
        file = self._open
        assert file is not None
        if refusal is not None and file.refusal is None:
            await self._refuse(file, refusal)
        staged = None
        if file.refusal is None:
            try:
                staged = await file.commit()
            except (Problem, LimitExceeded) as error:
                await self._refuse(file, _refusal(error))
        self._open = None
        self.files.append(ArrivedFile(file.filename, file.job_id, file.picture_type, staged, file.refusal))

    def note(self, filename: str, refusal: EntryRefusal) -> None:
        """Report what is no file of its own: an archive that broke off."""
        self.files.append(ArrivedFile(display_name(filename), new_id(), None, None, refusal))

    @property
    def is_open(self) -> bool:
        return self._open is not None

    async def _refuse(self, file: _OpenFile, refusal: EntryRefusal) -> None:
        file.refusal = refusal
        await file.own.aclose()


class _OpenFile:
    """The file that is arriving."""

    def __init__(self, filename: str, job_id: UUID, writer: StagingWriter, own: AsyncExitStack) -> None:
        self.filename = filename
        self.job_id = job_id
        self.own = own
        self.picture_type: PictureType | None = None
        self.refusal: EntryRefusal | None = None
        self._writer = writer
        self._head = b""

    async def add(self, data: bytes) -> None:
        if self.refusal is not None:
            return
        if self.picture_type is None:
            self._head += data
            if len(self._head) < SNIFF_BYTES:
                return
            data, self._head = self._head, b""
            self.picture_type = _recognise(data)
        await self._writer.write(data)

    async def commit(self) -> StagedFile:
        if self.picture_type is None:
            self.picture_type = _recognise(self._head)
            await self._writer.write(self._head)
        return await self._writer.commit()


class BulkParts(FormParts):
    """Hands pictures to the shelf; the first bytes of a part tell whether it is an archive of them."""

    def __init__(self, shelf: PictureShelf, limits: ZipLimits) -> None:
        super().__init__()
        self._shelf = shelf
        self._limits = limits
        self._filename = ""
        self._head: bytes | None = None
        self._archive: _Archive | None = None

    async def begin_file(self, filename: str) -> None:
        if self._archive is not None:
            raise _archive_alone()
        self._filename, self._head = filename, b""
        self.form.filename = display_name(filename)

    async def add_to_file(self, data: bytes) -> None:
        if self._head is not None:
            data = self._head + data
            if len(data) < len(ARCHIVE_MAGICS[0]):
                self._head = data
                return
            await self._open(data)
        await (self._archive.add(data) if self._archive else self._shelf.add(data))

    async def end_file(self) -> None:
        if self._head is not None:
            head = self._head
            await self._open(head)
            await self._shelf.add(head)
        await (self._archive.end() if self._archive else self._shelf.end())

    async def _open(self, head: bytes) -> None:
        self._head = None
        if not head.startswith(ARCHIVE_MAGICS):
            await self._shelf.begin(self._filename)
            return
        if self._shelf.files:
            raise _archive_alone()
        self._archive = _Archive(self._filename, self._shelf, self._limits)


class _Archive:
    """Unpacks onto the shelf; where it breaks, what came whole stays and the break is reported."""

    def __init__(self, filename: str, shelf: PictureShelf, limits: ZipLimits) -> None:
        self._filename = filename
        self._shelf = shelf
        self._reader = ZipReader(limits)
        self._is_broken = False

    async def add(self, data: bytes) -> None:
        if self._is_broken:
            return
        try:
            for event in self._reader.feed(data):
                await self._take(event)
        except BrokenArchive as error:
            await self._break_off(error)
        except ArchiveTooLarge as error:
            raise Problem(413, "too_large", f"Nothing was kept, for {error}. Send it in parts.") from error

    async def end(self) -> None:
        if self._is_broken:
            return
        try:
            self._reader.finish()
        except BrokenArchive as error:
            await self._break_off(error)

    async def _take(self, event: ZipEvent) -> None:
        if isinstance(event, EntryStart):
            await self._shelf.begin(event.name)
        elif isinstance(event, EntryEnd):
            await self._shelf.end(event.refusal)
        elif event:
            await self._shelf.add(event)
        else:
            await asyncio.sleep(0)

    async def _break_off(self, error: BrokenArchive) -> None:
        self._is_broken = True
        if self._shelf.is_open:
            await self._shelf.end(EntryRefusal(error.code, f"The archive can't be read on from here: {error}."))
        detail = f"What follows in the archive was not read: {error}. Pack the rest again and send it."
        self._shelf.note(self._filename, EntryRefusal(error.code, detail))


def _recognise(head: bytes) -> PictureType:
    if head.startswith(ARCHIVE_MAGICS):
        raise Problem(415, "unsupported_media_type", "An archive inside an archive is not read: send it by itself.")
    return recognise(head)


def _refusal(error: Problem | LimitExceeded) -> EntryRefusal:
    if isinstance(error, Problem):
        return EntryRefusal(error.code, error.detail)
    detail = f"A file may have {error.limit_bytes} bytes at most; this one is larger. Send a smaller one."
    return EntryRefusal("too_large", detail)


def _archive_alone() -> Problem:
    return InvalidFields(FieldError(FILE_FIELD, "must be pictures, or one ZIP archive and nothing else"))
