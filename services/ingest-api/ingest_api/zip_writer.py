"""Files of the bucket as one ZIP archive, made while it is sent: in the memory of a chunk, whatever its size."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from datetime import datetime

from shared.storage.errors import ObjectNotFound
from shared.storage.object_store import ObjectStore, OpenObject

log = logging.getLogger(__name__)

MISSING_NAME = "missing.txt"
_EARLIEST = (1980, 1, 1, 0, 0, 0)


async def zipped(store: ObjectStore, keys: Iterable[str]) -> AsyncGenerator[bytes, None]:
    """The archive in pieces. Pictures are packed already, so they are stored as they are.

    What is gone is named in a file at the end. When the store breaks off, so does the archive: it is never whole then,
    and whoever receives it sees that.
    """
    sink = _Sink()
    missing: list[str] = []
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for key, name in _named(keys):
            try:
                async with store.open(key) as opened:
                    with archive.open(_entry(name, opened), "w") as entry:
                        async for chunk in opened.chunks:
                            entry.write(chunk)
                            yield sink.taken()
            except ObjectNotFound:
                log.warning("a photo is missing in an archive", extra={"key": key})
                missing.append(name)
        if missing:
            archive.writestr(MISSING_NAME, "".join(f"{name}\n" for name in missing))
    yield sink.taken()


def _entry(name: str, opened: OpenObject) -> zipfile.ZipInfo:
    modified_at: datetime = opened.info.modified_at
    entry = zipfile.ZipInfo(name, max(_EARLIEST, modified_at.timetuple()[:6]))
    # Says whether the sizes that follow the bytes need 64 bits.
    entry.file_size = opened.info.size_bytes
    return entry


def _named(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every key with a name of its own: the last part of the key, numbered where another had it before."""
    taken = {MISSING_NAME}
    for key in keys:
        name = key.rpartition("/")[2]
        stem, dot, extension = name.rpartition(".")
        number = 2
        while name.casefold() in taken:
            name = f"{stem} ({number}){dot}{extension}" if stem else f"{extension} ({number})"
            number += 1
        taken.add(name.casefold())
        yield key, name


class _Sink:
    """Where the archive is written to; without a position, so that nothing written is ever gone back to."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to close."""

    def taken(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._written)
        self._written.clear()
        return data
