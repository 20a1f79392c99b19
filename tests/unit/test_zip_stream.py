"""Reading archives as they arrive: whatever the chunks, whole files come out and hostile ones don't."""

from __future__ import annotations

import io
import itertools
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_api.zip_stream import (
    PIECE_BYTES,
    ArchiveTooLarge,
    BrokenArchive,
    EntryEnd,
    EntryRefusal,
    EntryStart,
    ZipLimits,
    ZipReader,
    is_wanted,
)

LIMITS = ZipLimits(entries=100, entry_bytes=8 * 1024 * 1024, unpacked_bytes=64 * 1024 * 1024, ratio=100)
NOISE = random.Random(7).randbytes(300_000)
LIKE_RECORDS = [b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02", b"PK\x05\x06"]


@dataclass
class Entry:
    name: str
    data: bytes
    refusal: EntryRefusal | None
    is_over: bool

    @property
    def taken(self) -> tuple[str, bytes]:
        assert self.is_over
        assert self.refusal is None, self.refusal
        return self.name, self.data


class Pipe(io.RawIOBase):
    """A file that can't be sought, so that sizes are written behind the entries."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.written += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def archive(files: Iterable[tuple[str, bytes]], *, method: int = zipfile.ZIP_DEFLATED, piped: bool = False) -> bytes:
    pipe = Pipe()
    plain = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names may stand twice
        with zipfile.ZipFile(pipe if piped else plain, "w", method) as made:
            for name, data in files:
                info = zipfile.ZipInfo(name)
                info.compress_type = method
                made.writestr(info, data)
    return bytes(pipe.written) if piped else plain.getvalue()


def read(
    chunks: Iterable[bytes], limits: ZipLimits = LIMITS, wanted: Callable[[str], bool] = is_wanted
) -> tuple[list[Entry], BrokenArchive | None]:
    """The entries that began, and what the archive broke off with."""
    reader = ZipReader(limits, wanted)
    found: list[Entry] = []
    try:
        for chunk in chunks:
            for event in reader.feed(chunk):
                if isinstance(event, EntryStart):
                    found.append(Entry(event.name, b"", None, False))
                elif isinstance(event, EntryEnd):
                    found[-1].refusal, found[-1].is_over = event.refusal, True
                elif event:
                    assert len(event) <= PIECE_BYTES
                    found[-1].data += event
        reader.finish()
    except BrokenArchive as error:
        return found, error
    return found, None


def read_whole(data: bytes, limits: ZipLimits = LIMITS) -> list[Entry]:
    found, broken = read([data], limits)
    assert broken is None, broken
    return found


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


KINDS = [(zipfile.ZIP_STORED, False), (zipfile.ZIP_DEFLATED, False), (zipfile.ZIP_DEFLATED, True)]
contents = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([*LIKE_RECORDS, b"\0" * 40, b"x"]), max_size=10).map(b"".join),
    st.integers(0, 200_000).map(lambda length: NOISE[:length]),
)


@given(
    files=st.lists(st.tuples(st.sampled_from(["a.jpg", "b/c.png", "größer.jpg"]), contents), max_size=6),
    kind=st.sampled_from(KINDS),
    positions=st.lists(st.integers(0, 2_000_000), max_size=20),
)
def test_any_files_in_any_chunks(
    files: list[tuple[str, bytes]], kind: tuple[int, bool], positions: Sequence[int]
) -> None:
    data = archive(files, method=kind[0], piped=kind[1])
    found, broken = read(cut(data, positions))
    assert broken is None
    assert [entry.taken for entry in found] == files


@pytest.mark.parametrize(("method", "piped"), KINDS)
def test_every_byte_on_its_own(method: int, piped: bool) -> None:
    files = [("a.jpg", b"PK\x07\x08" * 50), ("empty.jpg", b""), ("b.jpg", NOISE[:500])]
    data = archive(files, method=method, piped=piped)
    found, broken = read(data[at : at + 1] for at in range(len(data)))
    assert broken is None
    assert [entry.taken for entry in found] == files


@given(data=st.binary(max_size=400), kind=st.sampled_from(KINDS), at=st.integers(0, 5000), flip=st.integers(1, 255))
def test_one_changed_byte_never_gives_other_bytes(data: bytes, kind: tuple[int, bool], at: int, flip: int) -> None:
    files = [("a.jpg", data), ("b.jpg", NOISE[:200])]
    damaged = bytearray(archive(files, method=kind[0], piped=kind[1]))
    damaged[at % len(damaged)] ^= flip
    try:
        found, _ = read([bytes(damaged)], wanted=lambda _: True)
    except ArchiveTooLarge:
        return
    whole = [entry.data for entry in found if entry.is_over and entry.refusal is None]
    assert all(content in (data, NOISE[:200]) for content in whole)


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=5))
def test_nonsense_ends_in_a_refusal(data: bytes, positions: Sequence[int]) -> None:
    found, broken = read(cut(b"PK\x03\x04" + data, positions))
    assert broken is not None or all(entry.is_over for entry in found)


@pytest.mark.parametrize(("method", "piped"), KINDS)
def test_a_cut_archive_keeps_what_came_whole(method: int, piped: bool) -> None:
    files = [("a.jpg", NOISE[:400]), ("b.jpg", NOISE[400:900])]
    data = archive(files, method=method, piped=piped)
    directory = data.index(b"PK\x01\x02")
    for length in range(4, directory):
        found, broken = read([data[:length]])
        assert broken is not None, length
        assert [entry.taken for entry in found if entry.is_over] == files[: sum(entry.is_over for entry in found)]
    assert read([data[: directory + 12]])[1] is None


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.jpg", True),
        ("../../a.jpg", True),
        ("/etc/a.jpg", True),
        ("C:\\pictures\\a.jpg", True),
        ("a/../b.jpg", True),
        ("folder/", False),
        ("folder\\", False),
        ("..", False),
        ("", False),
        (".hidden.jpg", False),
        (".git/a.jpg", False),
        ("a\\.b\\c.jpg", False),
        ("__MACOSX/._a.jpg", False),
        ("x/__MACOSX/a.jpg", False),
        ("Thumbs.db", False),
        ("x/desktop.ini", False),
    ],
)
def test_which_entries_may_be_pictures(name: str, wanted: bool) -> None:
    assert is_wanted(name) is wanted


@pytest.mark.parametrize(("method", "piped"), KINDS)
def test_unwanted_entries_are_passed_over(method: int, piped: bool) -> None:
    files = [("__MACOSX/._a.jpg", NOISE[:999]), ("folder/", b""), ("folder/a.jpg", b"a"), (".DS_Store", b"x" * 70_000)]
    found = read_whole(archive(files, method=method, piped=piped))
    assert [entry.taken for entry in found] == [("folder/a.jpg", b"a")]


def header(data: bytes, name: bytes = b"a.jpg", **changes: int) -> bytes:
    """One entry; `changes` are fields of its header that say something else."""
    fields = {"flags": 0, "method": 0, "crc": zlib.crc32(data), "packed": len(data), "unpacked": len(data)} | changes
    return (
        b"PK\x03\x04"
        + struct.pack("<5H", 20, fields["flags"], fields["method"], 0, 0)
        + struct.pack("<3I2H", fields["crc"], fields["packed"], fields["unpacked"], len(name), 0)
        + name
        + data
    )


REST = archive([("rest.jpg", b"rest")])


def test_an_encrypted_entry_fails_alone() -> None:
    first, rest = read_whole(header(b"secret", flags=1) + REST)
    assert first.refusal is not None
    assert first.refusal.code == "unsupported_media_type"
    assert "password" in first.refusal.detail
    assert first.data == b""
    assert rest.taken == ("rest.jpg", b"rest")


def test_an_encrypted_entry_with_its_sizes_behind_it() -> None:
    descriptor = struct.pack("<4s3I", b"PK\x07\x08", 1, 6, 6)
    first, rest = read_whole(header(b"secret", flags=9) + descriptor + REST)
    assert first.refusal is not None
    assert rest.taken == ("rest.jpg", b"rest")
    _, broken = read([header(b"secret", flags=9, packed=0, unpacked=0) + descriptor + REST])
    assert broken is not None


def test_another_method_fails_alone() -> None:
    first, rest = read_whole(header(b"lzma", method=14) + REST)
    assert first.refusal is not None
    assert "deflate" in first.refusal.detail
    assert rest.taken == ("rest.jpg", b"rest")


@pytest.mark.parametrize("entry", [header(b"data", crc=1), header(b"data", unpacked=3)], ids=["checksum", "size"])
def test_bytes_that_are_not_those_that_were_packed(entry: bytes) -> None:
    first, rest = read_whole(entry + REST)
    assert first.refusal is not None
    assert first.refusal.code == "broken_archive"
    assert rest.taken == ("rest.jpg", b"rest")


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    "packed",
    [b"\xff\xff\xff\xff", deflated(NOISE)[:-5], deflated(b"data") + b"more", b""],
    ids=["no deflate", "cut", "something behind it", "nothing"],
)
def test_an_entry_that_cannot_be_unpacked_fails_alone(packed: bytes) -> None:
    data = header(packed, method=8, crc=zlib.crc32(b"data"), unpacked=4) + REST
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))]) if len(data) < 1000 else ([data],):
        found, broken = read(chunks)
        assert broken is None
        assert found[0].refusal is not None
        assert found[0].refusal.code == "broken_archive"
        assert found[1].taken == ("rest.jpg", b"rest")


def test_a_bomb_of_known_size_fails_alone() -> None:
    limits = replace(LIMITS, entry_bytes=2**40, unpacked_bytes=16 * 1024 * 1024)
    data = archive([("bomb.jpg", bytes(50_000_000)), ("a.jpg", b"a")])
    bomb, rest = read_whole(data, limits)
    assert bomb.refusal is not None
    assert bomb.refusal.code == "too_large"
    assert len(bomb.data) < 2 * 1024 * 1024
    assert rest.taken == ("a.jpg", b"a")


def test_a_bomb_of_unknown_size_ends_the_archive() -> None:
    data = archive([("a.jpg", b"a"), ("bomb.jpg", bytes(50_000_000))], piped=True)
    found, broken = read([data])
    assert found[0].taken == ("a.jpg", b"a")
    assert broken is not None
    assert broken.code == "too_large"
    assert len(found[1].data) < 2 * 1024 * 1024


def test_a_hidden_bomb_counts() -> None:
    with pytest.raises(ArchiveTooLarge):
        read([archive([(".bomb", NOISE)], piped=True)], replace(LIMITS, unpacked_bytes=200_000))


@pytest.mark.parametrize("piped", [False, True])
def test_a_file_too_large_fails_alone(piped: bool) -> None:
    files = [("large.jpg", NOISE), ("a.jpg", b"a")]
    large, rest = read_whole(archive(files, piped=piped), replace(LIMITS, entry_bytes=100_000))
    assert large.refusal is not None
    assert large.refusal.code == "too_large"
    assert len(large.data) <= 100_000
    assert rest.taken == ("a.jpg", b"a")


def test_limits_of_the_whole_archive() -> None:
    data = archive([("a.jpg", NOISE), ("b.jpg", NOISE)])
    with pytest.raises(ArchiveTooLarge, match="unpack to 400000"):
        read([data], replace(LIMITS, unpacked_bytes=400_000))
    with pytest.raises(ArchiveTooLarge, match="1 entries"):
        read([data], replace(LIMITS, entries=1))


def test_overlapping_entries_of_the_directory_are_never_read() -> None:
    data = archive([("a.jpg", b"a")])
    at = data.index(b"PK\x01\x02")
    record = data[at : data.index(b"PK\x05\x06")]
    assert [entry.taken for entry in read_whole(data[:at] + record * 1000)] == [("a.jpg", b"a")]


def test_sizes_of_8_bytes() -> None:
    for force in (True, False):
        pipe = Pipe()
        with (
            zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made,
            made.open("a.jpg", "w", force_zip64=force) as file,
        ):
            file.write(NOISE)
        assert [entry.taken for entry in read_whole(bytes(pipe.written))] == [("a.jpg", NOISE)]
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as made, made.open("a.jpg", "w", force_zip64=True) as file:
        file.write(NOISE)
    assert [entry.taken for entry in read_whole(plain.getvalue())] == [("a.jpg", NOISE)]


def test_names_in_the_old_code_page() -> None:
    assert read_whole(header(b"x", b"gr\x94\xe1er.jpg") + REST)[0].name == "größer.jpg"


def test_an_empty_archive_has_no_entries() -> None:
    assert read_whole(archive([])) == []


def test_memory_stays_small() -> None:
    reader = ZipReader(replace(LIMITS, entry_bytes=2**40, unpacked_bytes=2**40))
    data = archive([("a.jpg", NOISE * 20)], method=zipfile.ZIP_STORED)
    for at in range(0, len(data), 65_536):
        for _ in reader.feed(data[at : at + 65_536]):
            assert len(reader._buffer) <= 65_536 + 64
