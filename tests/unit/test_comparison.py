"""The merge join beside a model that holds everything in dictionaries, and its memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.comparison import FileClass, Finding, OutOfOrder, Patience, Recorded, Stored, compare

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
OLD = NOW - timedelta(hours=1)
GRACE = timedelta(seconds=10)
OWNER = UUID(int=1)
T = TypeVar("T")


def patience(bucket_now: datetime = NOW, disk_now: datetime = NOW) -> Patience:
    return Patience(lambda: bucket_now, lambda: disk_now, GRACE, NOW - timedelta(seconds=2))


def recorded(key: str, **changes: Any) -> Recorded:
    values: dict[str, Any] = {
        "size_bytes": 1,
        "sha256": None,
        "in_bucket": True,
        "on_disk": True,
        "is_settled": True,
        "is_removed": False,
        "known_at": OLD,
        "owner_id": OWNER,
        "record_id": OWNER,
        "mime_type": "image/png",
    }
    return Recorded(key=key, **{**values, **changes})


def stored(key: str, size_bytes: int = 1, sha256: str | None = None, modified_at: datetime = OLD) -> Stored:
    return Stored(key, size_bytes, "etag", modified_at, sha256)


async def stream(entries: Iterable[T]) -> AsyncIterator[Sequence[T]]:
    """Batches of one entry, and empty ones between them."""
    left = iter(entries)
    while batch := [*islice(left, 2)]:
        yield batch[:1]
        yield []
        yield batch[1:]


def found(
    records: Iterable[Recorded] = (),
    bucket: Iterable[Stored] = (),
    disk: Iterable[Stored] = (),
    within: Patience | None = None,
) -> list[Finding]:
    async def collect() -> list[Finding]:
        compared = compare(stream(records), stream(bucket), stream(disk), within or patience())
        return [finding async for finding in compared]

    return asyncio.run(collect())


def kinds(*arguments: Any, **options: Any) -> list[tuple[str, FileClass]]:
    return [(finding.key, finding.kind) for finding in found(*arguments, **options)]


@pytest.mark.parametrize(
    ("record", "bucket", "disk", "kind"),
    [
        (recorded("a"), stored("a"), stored("a"), FileClass.SYNCED),
        (recorded("a", on_disk=False), stored("a"), None, FileClass.SYNCED),
        (recorded("a", in_bucket=False), None, stored("a"), FileClass.SYNCED),
        (recorded("a"), None, stored("a"), FileClass.MISSING_IN_BUCKET),
        (recorded("a"), stored("a"), None, FileClass.MISSING_ON_DISK),
        (recorded("a"), None, None, FileClass.MISSING_EVERYWHERE),
        (recorded("a", in_bucket=False, on_disk=False), None, None, FileClass.SYNCED),
        (recorded("a"), stored("a", 2), stored("a"), FileClass.CONTENT_DIFFERS),
        (recorded("a"), stored("a"), stored("a", 2), FileClass.CONTENT_DIFFERS),
        (recorded("a", sha256="x"), stored("a", sha256="y"), stored("a"), FileClass.CONTENT_DIFFERS),
        (recorded("a", sha256="x"), stored("a"), stored("a", sha256="x"), FileClass.SYNCED),
        (None, stored("a"), None, FileClass.ORPHANED_IN_BUCKET),
        (None, None, stored("a"), FileClass.ORPHANED_ON_DISK),
        (None, stored("a", modified_at=NOW), None, FileClass.UNSETTLED),
        (None, None, stored("a", modified_at=NOW), FileClass.UNSETTLED),
        (recorded("a", is_settled=False), None, None, FileClass.UNSETTLED),
        (recorded("a", is_settled=False), stored("a"), stored("a"), FileClass.SYNCED),
        (recorded("a", known_at=NOW), None, None, FileClass.UNSETTLED),
        (recorded("a"), stored("a", 2, modified_at=NOW), stored("a"), FileClass.UNSETTLED),
        (recorded("a", is_removed=True), stored("a"), None, FileClass.UNSETTLED),
    ],
)
def test_each_class(record: Recorded | None, bucket: Stored | None, disk: Stored | None, kind: FileClass) -> None:
    streams = [[one] if one else [] for one in (record, bucket, disk)]
    assert kinds(*streams) == [("a", kind)]


def test_an_orphan_in_both_places_is_found_in_both() -> None:
    assert kinds((), [stored("a")], [stored("a")]) == [
        ("a", FileClass.ORPHANED_IN_BUCKET),
        ("a", FileClass.ORPHANED_ON_DISK),
    ]


def test_a_file_on_the_disk_of_which_the_record_says_nothing_is_an_orphan() -> None:
    in_bucket_alone = recorded("a", on_disk=False)
    assert kinds([in_bucket_alone], [stored("a")], [stored("a", 7)]) == [
        ("a", FileClass.SYNCED),
        ("a", FileClass.ORPHANED_ON_DISK),
    ]
    # Where the bucket has lost it, it may be all that is left.
    assert kinds([in_bucket_alone], (), [stored("a", 7)]) == [("a", FileClass.MISSING_IN_BUCKET)]


def test_an_object_of_which_the_record_says_nothing_is_an_orphan_while_the_disk_has_it() -> None:
    on_disk_alone = recorded("a", in_bucket=False, sha256="x")
    for bucket in (stored("a", sha256="x"), stored("a", 7)):
        assert kinds([on_disk_alone], [bucket], [stored("a", sha256="x")]) == [
            ("a", FileClass.SYNCED),
            ("a", FileClass.ORPHANED_IN_BUCKET),
        ]
    # Where the disk has lost or spoilt it, it may be all that is left.
    assert kinds([on_disk_alone], [stored("a")], ()) == [("a", FileClass.MISSING_ON_DISK)]
    assert kinds([on_disk_alone], [stored("a")], [stored("a", 7)]) == [("a", FileClass.CONTENT_DIFFERS)]
    # A copy that is under way, a young object, and one beside a record that changed a moment ago are nobody's to judge.
    waiting = recorded("a", in_bucket=False, copy_waits=True)
    assert kinds([waiting], [stored("a")], [stored("a")]) == [("a", FileClass.SYNCED)]
    young = [stored("a", modified_at=NOW)]
    assert kinds([on_disk_alone], young, [stored("a")])[1:] == [("a", FileClass.UNSETTLED)]
    fresh = recorded("a", in_bucket=False, known_at=NOW)
    assert kinds([fresh], [stored("a")], [stored("a")]) == [("a", FileClass.SYNCED)]
    nowhere = recorded("a", in_bucket=False, on_disk=False)
    assert kinds([nowhere], [stored("a")], [stored("a")]) == [("a", FileClass.SYNCED)]


def test_a_record_that_was_removed_a_moment_ago_and_left_nothing_is_no_finding() -> None:
    assert kinds([recorded("a", is_removed=True)]) == []


def test_a_key_that_one_record_left_and_another_took_is_judged_by_who_has_it() -> None:
    records = [recorded("a", is_removed=True, known_at=NOW), recorded("a")]
    assert kinds(records, [stored("a")], [stored("a")]) == [("a", FileClass.UNSETTLED), ("a", FileClass.SYNCED)]


@pytest.mark.parametrize("hours", [-5, 5])
def test_ages_go_by_the_clock_of_the_place_that_stamped_them(hours: int) -> None:
    skewed = NOW + timedelta(hours=hours)
    young, old = stored("a", modified_at=skewed - GRACE / 2), stored("b", modified_at=skewed - 2 * GRACE)
    assert kinds((), [young, old], within=patience(bucket_now=skewed)) == [
        ("a", FileClass.UNSETTLED),
        ("b", FileClass.ORPHANED_IN_BUCKET),
    ]


def test_what_is_stamped_in_the_future_is_young() -> None:
    assert kinds((), [stored("a", modified_at=NOW + timedelta(days=1))]) == [("a", FileClass.UNSETTLED)]


@pytest.mark.parametrize("place", ["bucket", "disk", "records"])
def test_a_stream_that_goes_backwards_is_not_believed(place: str) -> None:
    streams: dict[str, Any] = {place: [recorded(key) if place == "records" else stored(key) for key in "ba"]}
    with pytest.raises(OutOfOrder, match="gives 'a' after 'b'"):
        found(**streams)


def test_a_listing_that_breaks_off_is_an_error_and_no_short_listing() -> None:
    async def broken() -> AsyncIterator[Sequence[Stored]]:
        yield [stored("a")]
        raise ConnectionError("cut off")

    async def look() -> None:
        async for _ in compare(stream([recorded("a"), recorded("b")]), broken(), stream([]), patience()):
            pass

    with pytest.raises(ConnectionError, match="cut off"):
        asyncio.run(look())


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4) | st.sampled_from(
    ["a", "a/b", "a.b", "a b", "a+b", "ü", "\uffff", "\U0001f600", "products/x/1 kg/hero-card/a+b c.png"]
)
TIMES = st.sampled_from([OLD, NOW])
OBJECTS = st.dictionaries(KEYS, st.tuples(st.integers(1, 2), st.sampled_from([None, "x", "y"]), TIMES), max_size=8)
RECORDS = st.dictionaries(
    KEYS,
    st.fixed_dictionaries(
        {
            "size_bytes": st.integers(1, 2),
            "sha256": st.sampled_from([None, "x"]),
            "in_bucket": st.booleans(),
            "on_disk": st.booleans(),
            "copy_waits": st.booleans(),
            "is_settled": st.booleans(),
            "is_removed": st.booleans(),
            "known_at": TIMES,
        }
    ),
    max_size=8,
)
Objects = dict[str, tuple[int, str | None, datetime]]


@given(RECORDS, OBJECTS, OBJECTS)
def test_the_merge_finds_what_dictionaries_find(
    records: dict[str, dict[str, Any]], bucket: Objects, disk: Objects
) -> None:
    def by_bytes(keys: Iterable[str]) -> list[str]:
        return sorted(keys, key=str.encode)

    merged = kinds(
        [recorded(key, **records[key]) for key in by_bytes(records)],
        [stored(key, *bucket[key]) for key in by_bytes(bucket)],
        [stored(key, *disk[key]) for key in by_bytes(disk)],
    )
    expected = [
        (key, kind)
        for key in by_bytes({*records, *bucket, *disk})
        for kind in model(records.get(key), bucket.get(key), disk.get(key))
    ]
    assert merged == expected


def model(
    record: dict[str, Any] | None,
    bucket: tuple[int, str | None, datetime] | None,
    disk: tuple[int, str | None, datetime] | None,
) -> list[FileClass]:
    """The classes of one key, written down from their definitions."""
    young = [one is not None and NOW - one[2] < GRACE for one in (bucket, disk)]
    if record is None:
        orphans = [(bucket, young[0], FileClass.ORPHANED_IN_BUCKET), (disk, young[1], FileClass.ORPHANED_ON_DISK)]
        return [FileClass.UNSETTLED if is_young else kind for one, is_young, kind in orphans if one is not None]
    if record["is_removed"]:
        return [FileClass.UNSETTLED] if bucket or disk else []

    def good(one: tuple[int, str | None, datetime]) -> bool:
        known = {record["sha256"], one[1]} - {None}
        return one[0] == record["size_bytes"] and len(known) < 2

    wanted = [one for flag, one in (("in_bucket", bucket), ("on_disk", disk)) if record[flag]]
    fresh = not record["is_settled"] or record["known_at"] == NOW
    if all(one is not None and good(one) for one in wanted):
        spare = []
        if record["in_bucket"] and not record["on_disk"] and not fresh and disk is not None:
            spare = [FileClass.UNSETTLED if young[1] else FileClass.ORPHANED_ON_DISK]
        if record["on_disk"] and not (record["in_bucket"] or record["copy_waits"] or fresh) and bucket is not None:
            spare = [FileClass.UNSETTLED if young[0] else FileClass.ORPHANED_IN_BUCKET]
        return [FileClass.SYNCED, *spare]
    if any(young) or fresh:
        return [FileClass.UNSETTLED]
    if any(one is not None and not good(one) for one in wanted):
        return [FileClass.CONTENT_DIFFERS]
    if bucket is None and disk is None:
        return [FileClass.MISSING_EVERYWHERE]
    return [FileClass.MISSING_IN_BUCKET if record["in_bucket"] and bucket is None else FileClass.MISSING_ON_DISK]


def test_memory_does_not_grow_with_the_number_of_objects() -> None:
    """A million keys over three streams, of which every tenth is missing somewhere."""
    total = 1_000_000

    async def keys(step: int) -> AsyncIterator[list[str]]:
        for first in range(0, total, 1000):
            yield [f"media/{number:08d}" for number in range(first, first + 1000) if number % step]

    async def listing(step: int) -> AsyncIterator[Sequence[Stored]]:
        async for page in keys(step):
            yield [stored(key) for key in page]

    async def records() -> AsyncIterator[Sequence[Recorded]]:
        async for page in keys(11):
            yield [recorded(key) for key in page]

    async def tally(limit: int) -> Counter[FileClass]:
        counted: Counter[FileClass] = Counter()
        async for finding in compare(records(), listing(7), listing(5), patience()):
            counted[finding.kind] += 1
            if counted.total() >= limit:
                break
        return counted

    # Traced for a tenth of them: tracing is slow, and what grew with them would show there too.
    tracemalloc.start()
    try:
        asyncio.run(tally(total // 10))
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()
    counted = asyncio.run(tally(2 * total))
    assert counted[FileClass.SYNCED] == sum(1 for n in range(total) if n % 11 and n % 7 and n % 5)
    assert counted[FileClass.MISSING_EVERYWHERE] == sum(1 for n in range(total) if n % 11 and not n % 35)
