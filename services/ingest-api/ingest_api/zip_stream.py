"""A ZIP archive as a stream: entries come out while it arrives, nothing of it is kept, no name in it is a path.

Only the entries themselves are read, in their order, each byte once; the directory at the end adds nothing that is
needed. So entries that overlap, or of which only the directory knows, don't exist here, and a symbolic link is what it
is packed as: a small file with a text.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Final

ARCHIVE_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins: with its first entry, or, without any, with its end."""

PIECE_BYTES: Final = 64 * 1024
RATIO_FREE_BYTES: Final = 1024 * 1024
"""So much any entry may unpack to, however little it is packed."""

_ENTRY: Final = b"PK\x03\x04"
_AFTER_ENTRIES: Final = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")
_DESCRIPTOR: Final = b"PK\x07\x08"
_HEADER: Final = struct.Struct("<5H3I2H")
_ENCRYPTED: Final = 0x2041
_SIZES_FOLLOW: Final = 0x8
_STORED: Final = 0
_DEFLATED: Final = 8
_IN_ZIP64: Final = 0xFFFFFFFF
_ZIP64_EXTRA: Final = 1
_LONGEST_DESCRIPTOR_BYTES: Final = 24
"""So much always follows an entry: the shortest descriptor and the shortest end of an archive have more."""

_FILES_OF_SYSTEMS: Final = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """`unpacked_bytes` is of all entries together, `ratio` unpacked to packed bytes of one."""

    entries: int
    entry_bytes: int
    unpacked_bytes: int
    ratio: int


@dataclass(frozen=True, slots=True)
class EntryRefusal:
    """Why one entry is not taken; `code` is one of ingest_api.problem_details.CODES."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class EntryStart:
    name: str


@dataclass(frozen=True, slots=True)
class EntryEnd:
    """The entry is over; what came of it counts only without a refusal."""

    refusal: EntryRefusal | None


class BrokenArchive(Exception):
    """What follows can't be read; what came before is whole. `code` as of an EntryRefusal."""

    def __init__(self, detail: str, code: str = "broken_archive") -> None:
        super().__init__(detail)
        self.code = code


class ArchiveTooLarge(Exception):
    """More entries, or more bytes in them, than one archive may have."""


ZipEvent = EntryStart | EntryEnd | bytes
Steps = Generator[ZipEvent | None, None, None]


def is_wanted(name: str) -> bool:
    """Whether an entry may be a picture: folders, hidden files and what systems leave in folders are none."""
    parts = re.split(r"[/\\]", name)
    hidden = any(part.startswith(".") and part.strip(".") for part in parts)
    return bool(parts[-1].strip(".")) and not hidden and "__MACOSX" not in parts and not _is_left_by_system(parts[-1])


def _is_left_by_system(name: str) -> bool:
    return name.casefold() in _FILES_OF_SYSTEMS


class ZipReader:
    """Reads what it is fed, in memory bounded by one chunk and one piece."""

    def __init__(self, limits: ZipLimits, wanted: Callable[[str], bool] = is_wanted) -> None:
        self._limits = limits
        self._wanted = wanted
        self._buffer = bytearray()
        self._entries = 0
        self._unpacked_bytes = 0
        self._is_complete = False
        self._steps = self._parse()

    def feed(self, chunk: bytes) -> Iterator[ZipEvent]:
        """What the chunk brings: of each wanted entry its start, pieces of at most PIECE_BYTES, and its end.

        An empty piece is work without a result, a moment for others to run. Raises BrokenArchive, ArchiveTooLarge.
        """
        self._buffer += chunk
        while (event := next(self._steps)) is not None:
            yield event

    def finish(self) -> None:
        """Raises BrokenArchive where the archive ended before its directory."""
        if not self._is_complete:
            raise BrokenArchive("it ends before all of its entries came")

    def _parse(self) -> Steps:
        while (signature := (yield from self._take(4))) == _ENTRY:
            yield from self._entry()
        if signature not in _AFTER_ENTRIES:
            raise BrokenArchive("something else stands where an entry should begin")
        self._is_complete = True
        while True:
            self._buffer.clear()
            yield None

    def _entry(self) -> Steps:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise ArchiveTooLarge(f"an archive may have {self._limits.entries} entries at most")
        entry = yield from self._header()
        wanted = self._wanted(entry.name)
        if wanted:
            yield EntryStart(entry.name)
        refusal = entry.refusal()
        if (refusal or not wanted) and entry.packed_bytes is not None:
            yield from self._skip(entry.packed_bytes)
            if entry.sizes_follow:
                yield from self._descriptor(None, entry.packed_bytes, None)
        elif refusal:
            raise BrokenArchive(f"{entry.name} can't be unpacked, and its end can't be found", refusal.code)
        else:
            refusal = yield from self._content(entry, wanted)
        if wanted:
            yield EntryEnd(refusal)

    def _content(self, entry: _Entry, wanted: bool) -> Generator[ZipEvent | None, None, EntryRefusal | None]:
        # Where a stored file without a size ends nobody can tell: only an empty one, as a folder is, passes.
        ends_unseen = entry.method == _STORED and entry.packed_bytes is None
        unpacking = _Unpacking(entry, packed_bytes_left=0 if ends_unseen else entry.packed_bytes)
        while not unpacking.is_over:
            if not self._buffer and not unpacking.has_more_inside:
                yield None
                continue
            piece = unpacking.take_from(self._buffer)
            self._unpacked_bytes += len(piece)
            if self._unpacked_bytes > self._limits.unpacked_bytes:
                raise ArchiveTooLarge(f"an archive may unpack to {self._limits.unpacked_bytes} bytes at most")
            unpacking.judge(self._limits)
            if unpacking.refusal and unpacking.packed_bytes_left is not None:
                yield from self._skip(unpacking.packed_bytes_left)
                if entry.sizes_follow:
                    yield from self._descriptor(None, entry.packed_bytes, None)
                return unpacking.refusal
            yield piece if wanted and not unpacking.refusal else b""
        if entry.sizes_follow:
            yield from self._descriptor(unpacking.crc, unpacking.packed_bytes, unpacking.unpacked_bytes)
        elif not unpacking.refusal and (unpacking.crc, unpacking.unpacked_bytes) != (entry.crc, entry.unpacked_bytes):
            return EntryRefusal("broken_archive", "The file's bytes are not those that were packed: pack it again.")
        return unpacking.refusal

    def _header(self) -> Generator[None, None, _Entry]:
        _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes = _HEADER.unpack(
            (yield from self._take(_HEADER.size))
        )
        name = yield from self._take(name_bytes)
        extra = yield from self._take(extra_bytes)
        if _IN_ZIP64 in (packed, unpacked):
            packed, unpacked = _zip64_sizes(extra, packed, unpacked)
        sizes_follow = bool(flags & _SIZES_FOLLOW)
        known = packed if packed or not sizes_follow else None
        return _Entry(_text(name), flags, method, crc, known, unpacked, sizes_follow)

    def _descriptor(self, crc: int | None, packed_bytes: int | None, unpacked_bytes: int | None) -> Steps:
        """Read what stands behind an entry whose sizes were not known before it; None is not compared.

        Its signature is optional and its sizes have 4 or 8 bytes, and only a match tells which.
        """
        while len(self._buffer) < _LONGEST_DESCRIPTOR_BYTES:
            yield None
        head = bytes(self._buffer[:_LONGEST_DESCRIPTOR_BYTES])
        for start in (4, 0) if head.startswith(_DESCRIPTOR) else (0,):
            for layout in ("<3I", "<I2Q"):
                length = start + struct.calcsize(layout)
                found = struct.unpack(layout, head[start:length]) if length <= len(head) else None
                expected = (crc, packed_bytes, unpacked_bytes)
                if found and all(want in (None, value) for value, want in zip(found, expected, strict=True)):
                    del self._buffer[:length]
                    return
        raise BrokenArchive("the sizes or the checksum behind an entry are not those of its bytes")

    def _take(self, count: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < count:
            yield None
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _skip(self, count: int) -> Steps:
        while count:
            if not self._buffer:
                yield None
            skipped = min(count, len(self._buffer))
            del self._buffer[:skipped]
            count -= skipped


@dataclass(frozen=True, slots=True)
class _Entry:
    """What stands before an entry's bytes; `packed_bytes` None where it is told only behind them."""

    name: str
    flags: int
    method: int
    crc: int
    packed_bytes: int | None
    unpacked_bytes: int
    sizes_follow: bool

    def refusal(self) -> EntryRefusal | None:
        if self.flags & _ENCRYPTED:
            return EntryRefusal("unsupported_media_type", "The file is encrypted: pack it without a password.")
        if self.method not in (_STORED, _DEFLATED):
            return EntryRefusal("unsupported_media_type", "The file is not packed by deflate: pack it again.")
        return None


class _Unpacking:
    """The bytes of one entry on their way out, counted and checked."""

    def __init__(self, entry: _Entry, *, packed_bytes_left: int | None) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == _DEFLATED else None
        self.packed_bytes_left = packed_bytes_left
        self.packed_bytes = 0
        self.unpacked_bytes = 0
        self.crc = 0
        self.has_more_inside = False
        """The decompressor may hold bytes back that did not fit into the last piece."""
        self.refusal: EntryRefusal | None = None

    @property
    def is_over(self) -> bool:
        if self._inflate is None:
            return self.packed_bytes_left == 0
        return self._inflate.eof and not self.packed_bytes_left

    def take_from(self, buffer: bytearray) -> bytes:
        """Unpack one piece; what was not needed stays in the buffer."""
        most = PIECE_BYTES if self.packed_bytes_left is None else min(PIECE_BYTES, self.packed_bytes_left)
        data = bytes(buffer[:most])
        piece, used_bytes = (data, len(data)) if self._inflate is None else self._inflated(self._inflate, data)
        del buffer[:used_bytes]
        self.packed_bytes += used_bytes
        if self.packed_bytes_left is not None:
            self.packed_bytes_left -= used_bytes
        self.unpacked_bytes += len(piece)
        self.crc = zlib.crc32(piece, self.crc)
        if self._inflate and not self._inflate.eof and self.packed_bytes_left == 0 and not self.has_more_inside:
            self._break()
        return piece

    def _inflated(self, inflate: zlib._Decompress, data: bytes) -> tuple[bytes, int]:
        try:
            piece = inflate.decompress(data, PIECE_BYTES)
        except zlib.error:
            self._break()
            return b"", 0
        unused_bytes = len(inflate.unused_data if inflate.eof else inflate.unconsumed_tail)
        used_bytes = len(data) - unused_bytes
        self.has_more_inside = not inflate.eof and len(piece) == PIECE_BYTES
        if inflate.eof and self.packed_bytes_left is not None and self.packed_bytes_left > used_bytes:
            self._break()
        return piece, used_bytes

    def _break(self) -> None:
        """Raises BrokenArchive where nothing tells where the next entry begins."""
        if self.packed_bytes_left is None:
            raise BrokenArchive("an entry whose size is not told before it can't be unpacked")
        self.refusal = EntryRefusal("broken_archive", "The file can't be unpacked: pack it again.")

    def judge(self, limits: ZipLimits) -> None:
        """Refuse what is too large; raises BrokenArchive where skipping it would mean to unpack a bomb."""
        if self.unpacked_bytes > RATIO_FREE_BYTES and self.unpacked_bytes > limits.ratio * self.packed_bytes:
            detail = f"The file unpacks to more than {limits.ratio} times its packed size: send it as it is."
            if self.packed_bytes_left is None:
                raise BrokenArchive(detail, "too_large")
            self.refusal = self.refusal or EntryRefusal("too_large", detail)
        if self.unpacked_bytes > limits.entry_bytes:
            detail = f"A file may have {limits.entry_bytes} bytes at most; this one is larger. Send a smaller one."
            self.refusal = self.refusal or EntryRefusal("too_large", detail)


def _zip64_sizes(extra: bytes, packed: int, unpacked: int) -> tuple[int, int]:
    """Sizes from the extra field of large archives, for those that don't stand in the header."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == _ZIP64_EXTRA and len(field) >= 16:
            unpacked, packed = struct.unpack_from("<2Q", field)
            return packed, unpacked
        at += 4 + length
    raise BrokenArchive("an entry says that its size stands elsewhere, and it doesn't")


def _text(name: bytes) -> str:
    """Many programs write UTF-8 without saying so; what is none is in the code page of the format."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp437")
