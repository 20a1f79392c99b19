"""Sealed selfies: unreadable where they lie, bound to their question, opened once, swept when nobody comes."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.identifiers import new_id
from shared.storage.errors import ObjectNotFound
from shared.storage.local_disk import LocalDiskStore
from shared.storage.sealed import SealBroken, SealedSelfies

KEY = bytes(range(32))
PICTURE = b"\xff\xd8 somebody's face " * 1000


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LocalDiskStore]:
    async with LocalDiskStore(tmp_path) as store:
        yield store


@pytest.fixture
def selfies(disk: LocalDiskStore) -> SealedSelfies:
    return SealedSelfies(disk, KEY)


def files(disk: LocalDiskStore) -> list[Path]:
    return [path for path in disk.root.rglob("*") if path.is_file()]


async def test_a_selfie_opens_once_and_leaves_nothing(disk: LocalDiskStore, selfies: SealedSelfies) -> None:
    question_id = new_id()
    sealed = await selfies.seal(question_id, PICTURE)
    (stored,) = files(disk)
    content = stored.read_bytes()
    assert len(content) == sealed.size_bytes
    assert b"somebody" not in content
    assert await selfies.unseal(question_id, sealed) == PICTURE
    assert files(disk) == []
    with pytest.raises(ObjectNotFound):
        await selfies.unseal(question_id, sealed)


async def test_the_same_picture_never_looks_the_same(disk: LocalDiskStore, selfies: SealedSelfies) -> None:
    one, other = await selfies.seal(new_id(), PICTURE), await selfies.seal(new_id(), PICTURE)
    assert one.sha256 != other.sha256
    assert len({path.read_bytes() for path in files(disk)}) == 2


async def test_what_was_sealed_for_one_question_opens_for_no_other(
    disk: LocalDiskStore, selfies: SealedSelfies
) -> None:
    one, other = new_id(), new_id()
    sealed, of_other = await selfies.seal(one, PICTURE), await selfies.seal(other, b"another")
    with pytest.raises(SealBroken, match="not the place of its question"):
        await selfies.unseal(other, sealed)
    # Put into the other's place it does not open either.
    moved = sealed.model_copy(update={"key": of_other.key})
    disk.path_of(of_other.key).write_bytes(disk.path_of(sealed.key).read_bytes())
    with pytest.raises(SealBroken, match="for another question"):
        await selfies.unseal(other, moved)
    assert [path.name for path in files(disk)] == [str(one)], "what can't be opened is removed all the same"


@pytest.mark.parametrize("damage", ["flipped", "longer", "cut"])
async def test_changed_bytes_do_not_open(disk: LocalDiskStore, selfies: SealedSelfies, damage: str) -> None:
    question_id = new_id()
    sealed = await selfies.seal(question_id, PICTURE)
    path = disk.path_of(sealed.key)
    content = path.read_bytes()
    changed = {"flipped": content[:-1] + bytes([content[-1] ^ 1]), "longer": content + b"x" * 100, "cut": content[:5]}
    path.write_bytes(changed[damage])
    with pytest.raises(SealBroken):
        await selfies.unseal(question_id, sealed)
    assert files(disk) == []


async def test_another_key_does_not_open(disk: LocalDiskStore, selfies: SealedSelfies) -> None:
    question_id = new_id()
    sealed = await selfies.seal(question_id, PICTURE)
    with pytest.raises(SealBroken, match="another key"):
        await SealedSelfies(disk, bytes(32)).unseal(question_id, sealed)


def test_a_key_of_another_length_is_refused(disk: LocalDiskStore) -> None:
    with pytest.raises(ValueError, match="16 bytes, expected 32"):
        SealedSelfies(disk, bytes(16))


async def test_what_nobody_came_for_is_swept_and_nothing_else(disk: LocalDiskStore, selfies: SealedSelfies) -> None:
    old, young = await selfies.seal(new_id(), PICTURE), await selfies.seal(new_id(), PICTURE)
    await disk.put_bytes("staging/other", b"an upload")
    unfinished = disk.root / "selfies" / ".tmp-unfinished"
    unfinished.write_bytes(b"?")
    long_ago = time.time() - 130
    for path in (disk.path_of(old.key), disk.path_of("staging/other"), unfinished):
        os.utime(path, (long_ago, long_ago))
    assert await selfies.sweep(120) == 2
    assert {path.name for path in files(disk)} == {young.key.rpartition("/")[2], "other"}


async def test_nothing_to_sweep_is_no_error(selfies: SealedSelfies) -> None:
    assert await selfies.sweep(0) == 0
    await selfies.discard(new_id())
