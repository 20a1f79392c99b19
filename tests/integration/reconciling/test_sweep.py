"""The sweep of the bucket: what no notification told of is told once, whatever breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shared.storage.errors import StoreUnavailable
from shared.testing.waiting import eventually
from tests.integration.reconciling.reconciler_world import Swept

pytestmark = pytest.mark.stack


def missed(happened: str) -> float:
    return REGISTRY.get_sample_value("bucket_events_missed_total", {"happened": happened}) or 0.0


async def test_what_no_notification_told_of_is_told_once_and_counted(swept: Swept) -> None:
    before = missed("created")
    told_of = await swept.put("a told.png")
    await swept.notify(told_of, "created", etag=(await _etag(swept, told_of)))
    await swept.put("b+missed.png")
    sweep = swept.sweep()
    assert await sweep.turn()
    assert await swept.told() == [("created", "b+missed.png")]
    await eventually(sweep.turn, why="another round is due")
    assert await swept.told() == [("created", "b+missed.png")]
    assert missed("created") == before + 1


async def _etag(swept: Swept, key: str) -> str:
    info = await swept.store.stat(key)
    assert info is not None
    return info.etag


async def test_an_overwritten_object_and_a_removed_one_are_told(swept: Swept) -> None:
    sweep = swept.sweep()
    overwritten, removed = await swept.put("a.png"), await swept.put("b.png")
    await sweep.turn()
    await swept.put("a.png", b"other")
    await swept.store.delete(removed)
    await eventually(sweep.turn, why="another round is due")
    assert (await swept.told())[2:] == [("created", "a.png"), ("removed", "b.png")]
    await eventually(sweep.turn, why="a third round is due")
    assert len(await swept.told()) == 4
    assert overwritten in {info.key async for info in swept.store.list(swept.prefix)}


async def test_pages_go_on_at_the_cursor_and_miss_nothing(swept: Swept) -> None:
    names = [f"{number:02}.png" for number in range(10)]
    for name in names:
        await swept.put(name)
    await swept.notify(swept.prefix + "055-gone.png", "created")
    sweep = swept.sweep(sweep_page=3)
    for _ in range(4):
        assert await sweep.turn()
    (row,) = await swept.reconciler.rows("SELECT cursor, rounds FROM sweeps")
    assert (row["cursor"], row["rounds"]) == ("", 1)
    told = await swept.told()
    assert sorted(told) == sorted([*(("created", name) for name in names), ("removed", "055-gone.png")])


async def test_what_may_still_be_told_is_waited_for(swept: Swept) -> None:
    await swept.put("young.png")
    await swept.sweep(sweep_grace_seconds=60).turn()
    assert await swept.told() == []


async def test_a_late_notification_of_something_older_changes_nothing(swept: Swept) -> None:
    key = swept.prefix + "a.png"
    now = datetime.now(UTC)
    await swept.notify(key, "removed", sequencer="0002", happened_at=now)
    await swept.notify(key, "created", sequencer="0001", etag="old", happened_at=now + timedelta(seconds=1))
    (row,) = await swept.reconciler.rows("SELECT is_removed FROM known_objects")
    assert row["is_removed"]
    await swept.sweep().turn()
    assert await swept.told() == []


async def test_a_listing_that_breaks_off_leaves_no_trace(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    await swept.put("a.png")
    await swept.notify(swept.prefix + "b.png", "created")
    whole = swept.store.list

    async def broken(prefix: str = "", *, start_after: str = "") -> AsyncIterator[Any]:
        async for info in whole(prefix, start_after=start_after):
            yield info
        raise StoreUnavailable("s3", "cut off")

    monkeypatch.setattr(swept.store, "list", broken)
    with pytest.raises(StoreUnavailable, match="cut off"):
        await swept.sweep().turn()
    assert await swept.told() == []
    monkeypatch.undo()
    await swept.sweep().turn()
    assert await swept.told() == [("created", "a.png"), ("removed", "b.png")]


async def test_one_process_sweeps_at_a_time(swept: Swept) -> None:
    await swept.put("a.png")
    turns = await asyncio.gather(*(swept.sweep(sweep_every_seconds=3600).turn() for _ in range(3)))
    assert sorted(turns) == [False, False, True]
    assert await swept.told() == [("created", "a.png")]
