"""Putting rendered files where the storage strategy wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.events import StorageStatus, StorageStrategy, StoredFile
from shared.messaging.errors import PermanentError, Postponed, decisive
from shared.storage.errors import StoreUnavailable
from shared.storage.local_disk import FinishedFile, LocalDiskStore
from shared.storage.s3 import S3Store
from shared.telemetry.tracing import span

FILES_AT_ONCE = 4
ORIGINAL = "original"
"""The name of the stored upload among the files of a picture."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where files go at once, and whether the bucket gets its copy later by its own job."""

    on_disk: bool
    in_bucket: bool
    bucket_later: bool

    @classmethod
    def of(cls, strategy: StorageStrategy) -> Placement:
        return {
            StorageStrategy.LOCAL_ONLY: cls(on_disk=True, in_bucket=False, bucket_later=False),
            StorageStrategy.LOCAL_FIRST: cls(on_disk=True, in_bucket=False, bucket_later=True),
            StorageStrategy.S3_ONLY: cls(on_disk=False, in_bucket=True, bucket_later=False),
            StorageStrategy.BOTH: cls(on_disk=True, in_bucket=True, bucket_later=False),
        }[strategy]

    @property
    def status(self) -> StorageStatus:
        """The truth right after storing: what is only local is called so until the bucket has its copy."""
        if self.on_disk and self.in_bucket:
            return StorageStatus.SYNCED
        return StorageStatus.S3_ONLY if self.in_bucket else StorageStatus.LOCAL_ONLY


@dataclass(frozen=True, slots=True)
class FileToStore:
    """A finished local file and what it becomes. Variants of one size share a key and are stored once."""

    path: Path
    stored: StoredFile


class Storing:
    """Stores the files of one picture on disk, in the bucket, or both side by side.

    Keys are deterministic, so storing twice leaves one result. A file appears under its key whole or not at all.
    """

    def __init__(self, disk: LocalDiskStore, bucket: S3Store | None) -> None:
        self._disk = disk
        self._bucket = bucket

    async def require(self, placement: Placement) -> None:
        """Ask for the bucket before costly work.

        Raises PermanentError when the strategy wants a bucket and none is configured, Postponed while it is away.
        """
        if not placement.in_bucket:
            return
        with postponing_while_bucket_is_away():
            await self._required_bucket().check()

    async def store(self, files: Sequence[FileToStore], placement: Placement) -> None:
        """Raises Postponed while the bucket is away; InsufficientSpace and other disk trouble as they are."""
        unique = list({file.stored.key: file for file in files}.values())
        slots = asyncio.Semaphore(FILES_AT_ONCE)
        with span("store", attributes={"mediabus.files": len(unique)}):
            try:
                async with asyncio.TaskGroup() as group:
                    if placement.on_disk:
                        group.create_task(self._to_disk(unique))
                    if placement.in_bucket:
                        for file in unique:
                            group.create_task(self._to_bucket(file, slots))
            except ExceptionGroup as errors:
                raise decisive(errors) from errors

    async def _to_disk(self, files: Sequence[FileToStore]) -> None:
        await self._disk.adopt([FinishedFile(file.stored.key, file.path, file.stored.sha256) for file in files])

    async def _to_bucket(self, file: FileToStore, slots: asyncio.Semaphore) -> None:
        with postponing_while_bucket_is_away():
            async with slots:
                await self._required_bucket().put_file(
                    file.stored.key, file.path, sha256=file.stored.sha256, content_type=file.stored.mime_type
                )

    def _required_bucket(self) -> S3Store:
        if self._bucket is None:
            raise PermanentError(
                "s3_not_configured",
                "the storage strategy wants the bucket and none is configured: set MEDIABUS_S3_ENDPOINT and its keys, "
                "or upload with storageStrategy local_only",
            )
        return self._bucket


@contextmanager
def postponing_while_bucket_is_away() -> Iterator[None]:
    """The bucket's absence stops only the pictures that want it; the others of the partition go on."""
    try:
        yield
    except StoreUnavailable as error:
        raise Postponed("bucket_away", str(error)) from error
