"""What is read before a plan is made of it, and that nothing is lost or moved on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.comparison import FileClass, Finding, Recorded
from reconciler.proving import READS_AT_ONCE, proven

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
DOUBTFUL = {
    FileClass.MISSING_IN_BUCKET,
    FileClass.MISSING_ON_DISK,
    FileClass.MISSING_EVERYWHERE,
    FileClass.CONTENT_DIFFERS,
}


def finding(position: int, kind: FileClass) -> Finding:
    key = f"{position:05}"
    is_orphan = kind in (FileClass.ORPHANED_IN_BUCKET, FileClass.ORPHANED_ON_DISK, FileClass.STALE_TEMPORARY)
    record = Recorded(key, 1, None, True, True, True, False, NOW, UUID(int=1), UUID(int=1), "image/png")
    return Finding(key, kind, None if is_orphan else record)


async def stream(findings: list[Finding]) -> AsyncIterator[Finding]:
    for one in findings:
        yield one


@given(st.lists(st.sampled_from(FileClass), max_size=60))
def test_what_lacks_something_is_read_a_bounded_number_at_once_and_all_stays_in_order(kinds: list[FileClass]) -> None:
    findings = [finding(position, kind) for position, kind in enumerate(kinds)]
    reading, read, most_at_once = 0, [], 0

    async def prove(one: Finding) -> Finding:
        nonlocal reading, most_at_once
        reading += 1
        most_at_once = max(most_at_once, reading)
        await asyncio.sleep(0)
        reading -= 1
        read.append(one.kind)
        return replace(one, kind=FileClass.SYNCED)

    async def collect() -> list[Finding]:
        return [one async for one in proven(stream(findings), prove)]

    found = asyncio.run(collect())
    assert sorted(read) == sorted(kind for kind in kinds if kind in DOUBTFUL)
    assert most_at_once <= READS_AT_ONCE
    assert found == [replace(one, kind=FileClass.SYNCED) if one.kind in DOUBTFUL else one for one in findings]


def test_what_can_not_be_read_ends_it_all() -> None:
    async def prove(one: Finding) -> Finding:
        raise OSError(one.key)

    async def collect() -> list[Finding]:
        return [one async for one in proven(stream([finding(0, FileClass.MISSING_ON_DISK)]), prove)]

    with pytest.raises(OSError, match="00000"):
        asyncio.run(collect())
