"""The two places where files lie, read and written in the same way."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from deploy.backup.contents import chunks_of_file
from deploy.backup.errors import BackupError
from deploy.backup.manifest import FileEntry
from deploy.backup.site import BucketAddress, Site
from shared.storage.atomic_file import make_directories, sync_directory
from shared.storage.keys import TEMPORARY_PREFIX
from shared.storage.sealed import SELFIES_PREFIX

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

PRIVATE_PREFIXES: Final = (SELFIES_PREFIX,)
"""What lives for the moment of a search, and must not outlive it in a backup."""
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as a listing shows it; `etag` is None on the disk."""

    key: str
    size_bytes: int
    modified_at: datetime
    etag: str | None = None

    def is_as(self, entry: FileEntry) -> bool:
        """Whether the file is the one that was read before, as far as a listing tells."""
        return (self.size_bytes, self.modified_at, self.etag) == (entry.size_bytes, entry.modified_at, entry.etag)


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is being read: what its place says of it, and its bytes, once."""

    chunks: AsyncIterator[bytes]
    content_type: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


async def at_once(count: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run so many of one kind of work side by side; raises the first failure, when all have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


def refuse_unreadable(error: OSError) -> None:
    """Raises BackupError for a folder that can't be looked into, unless it is gone: a backup would lack its files."""
    if not isinstance(error, FileNotFoundError):
        raise BackupError(f"{error.filename} can't be read: {error.strerror}") from error


class Place(Protocol):
    async def listed(self) -> list[Listed]:
        """Everything that belongs into a backup."""
        ...

    async def open(self, key: str) -> Opened | None:
        """None for a file that is gone."""
        ...

    async def write(self, entry: FileEntry, source: Path) -> None:
        """Put the bytes of `source` where they were, with everything that was known of them."""
        ...


def is_kept(key: str) -> bool:
    """Whether a file belongs into a backup: what is unfinished or somebody's private moment does not."""
    return not key.startswith(PRIVATE_PREFIXES) and not key.rpartition("/")[2].startswith(TEMPORARY_PREFIX)


class Disk:
    """The files below the media root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def listed(self) -> list[Listed]:
        return await asyncio.to_thread(self._listed)

    def _listed(self) -> list[Listed]:
        found: list[Listed] = []
        for folder, _, names in os.walk(self._root, onerror=refuse_unreadable):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if not is_kept(key) or path.is_symlink():
                    continue
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                found.append(Listed(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)))
        return sorted(found, key=lambda listed: listed.key)

    async def open(self, key: str) -> Opened | None:
        try:
            # Opened here: what goes from now on can be read to its end.
            file = (self._root / key).open("rb")
        except FileNotFoundError:
            return None
        return Opened(chunks_of_file(file))

    async def write(self, entry: FileEntry, source: Path) -> None:
        await asyncio.to_thread(self._write, entry, source)

    def _write(self, entry: FileEntry, source: Path) -> None:
        path = self._root / entry.key
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise BackupError(f"{entry.key!r} of the backup leads out of the media root")
        self._root.mkdir(parents=True, exist_ok=True)
        make_directories(self._root, path.parent)
        # By the whole name, and the same when it is written anew; the name itself may be as long as names can be.
        unfinished = path.with_name(f"{TEMPORARY_PREFIX}{hashlib.sha256(path.name.encode()).hexdigest()[:32]}")
        with source.open("rb") as given, unfinished.open("wb") as file:
            while chunk := given.read(_CHUNK_BYTES):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.utime(unfinished, (entry.modified_at.timestamp(),) * 2)
        unfinished.replace(path)
        # Records that name the file may take the place of others when all files are written.
        sync_directory(path.parent)


class Bucket:
    """The objects of a bucket."""

    def __init__(self, client: S3Client, name: str) -> None:
        self._client = client
        self._name = name

    async def listed(self) -> list[Listed]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name)
        return [
            Listed(one["Key"], one["Size"], one["LastModified"], one["ETag"].strip('"'))
            async for page in pages
            for one in page.get("Contents", [])
            if is_kept(one["Key"])
        ]

    async def open(self, key: str) -> Opened | None:
        try:
            answer = await self._client.get_object(Bucket=self._name, Key=key)
        except self._client.exceptions.NoSuchKey:
            return None

        async def chunks() -> AsyncIterator[bytes]:
            async with answer["Body"] as body:
                async for chunk in body.iter_chunks(_CHUNK_BYTES):
                    yield chunk

        return Opened(chunks(), answer.get("ContentType"), tuple(sorted(answer["Metadata"].items())))

    async def write(self, entry: FileEntry, source: Path) -> None:
        with source.open("rb") as body:
            await self._client.put_object(
                Bucket=self._name,
                Key=entry.key,
                Body=body,
                ContentLength=entry.size_bytes,
                ContentType=entry.content_type or "application/octet-stream",
                Metadata=entry.metadata,
            )


@asynccontextmanager
async def open_places(site: Site) -> AsyncIterator[dict[str, Place]]:
    """Disk and bucket of an installation by name. What the bucket raises inside comes out as BackupError."""
    from botocore.exceptions import BotoCoreError, ClientError

    disk = Disk(site.media_root)
    if site.bucket is None:
        yield {"disk": disk}
        return
    try:
        async with _client_of(site.bucket) as client:
            yield {"disk": disk, "bucket": Bucket(client, site.bucket.name)}
    except (BotoCoreError, ClientError) as error:
        raise BackupError(f"the bucket {site.bucket.name} at {site.bucket.endpoint}: {error}") from error


def _client_of(address: BucketAddress) -> AbstractAsyncContextManager[S3Client]:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": 4, "mode": "standard"},
        request_checksum_calculation="when_required",
        s3={"addressing_style": "path"},
    )
    return get_session().create_client(
        "s3",
        endpoint_url=address.endpoint,
        region_name=address.region,
        aws_access_key_id=address.access_key,
        aws_secret_access_key=address.secret_key,
        config=config,
    )
