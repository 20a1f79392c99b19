"""Restored records taking the place of others: every state of the folders, every step as the last one."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local.errors import StackError
from deploy.local.processes import FolderLock
from deploy.local.replaced_records import RESTORING, leftovers, replace_records, settle
from deploy.local.stack_folder import StackFolder
from deploy.local.topology import KAFKA, POSTGRES

REPLACED, REPLACED_TOPICS = f"{POSTGRES}.replaced", f"{KAFKA}.replaced"
FOLDERS = (RESTORING, POSTGRES, REPLACED, KAFKA, REPLACED_TOPICS)
OWN = {"signing_key": "own", "postgres_admin_password": "secret"}
KEYS = {"signing_key": "of the backup"}
UNCHANGED = {POSTGRES: POSTGRES, KAFKA: KAFKA, "keys": "own"}
REPLACED_RECORDS = {POSTGRES: RESTORING, "keys": "of the backup"}


def silent(_: str) -> None:
    pass


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here needs a disk to be waited for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def stack_with(root: Path, *folders: str, is_decided: bool = False) -> StackFolder:
    """A stack that does not run; in each folder a file that says where it was."""
    stack = StackFolder(root)
    stack.data("").mkdir(parents=True)
    for name in folders:
        (stack.data(name) / "deep").mkdir(parents=True)
        (stack.data(name) / "deep" / "was").write_text(name)
    stack.secrets.write_text(json.dumps(OWN))
    if is_decided:
        decision(stack).write_text(json.dumps(KEYS))
    return stack


def decision(stack: StackFolder) -> Path:
    return stack.root / "restored.json"


def contents(stack: StackFolder) -> dict[str, str]:
    """What each folder was before; and `keys`, whose they are."""
    found = {path.parents[1].name: path.read_text() for path in stack.data("").glob("*/deep/was")}
    return found | {"keys": json.loads(stack.secrets.read_text())["signing_key"]}


def expected(present: frozenset[str], *, is_decided: bool) -> dict[str, str]:
    """What a state means; never without records where there are any."""
    if is_decided:
        records = RESTORING if RESTORING in present else POSTGRES
        # Topics go with the records that they tell of; those that come behind are new.
        topics = {KAFKA: KAFKA} if RESTORING not in present and KAFKA in present else {}
        return {POSTGRES: records, **topics, "keys": "of the backup"}
    own = {part: part for part in (POSTGRES, KAFKA) if part in present}
    if POSTGRES not in present and REPLACED in present:
        aside = {part: f"{part}.replaced" for part in (POSTGRES, KAFKA) if f"{part}.replaced" in present}
        own = {**aside, **own}
    return {**own, "keys": "own"}


STATES = [frozenset(some) for count in range(len(FOLDERS) + 1) for some in itertools.combinations(FOLDERS, count)]


@pytest.mark.parametrize("is_decided", [False, True])
def test_every_state_leads_to_one_end_however_often_it_is_settled(tmp_path: Path, is_decided: bool) -> None:
    for number, present in enumerate(STATES):
        stack = stack_with(tmp_path / str(number), *present, is_decided=is_decided)
        if is_decided and not present & {RESTORING, POSTGRES}:
            before = contents(stack)
            with pytest.raises(StackError, match="restore again"):
                settle(stack, silent)
            assert contents(stack) == before, present
            continue
        for _ in range(2):
            settle(stack, silent)
            assert contents(stack) == expected(present, is_decided=is_decided), present
            assert not decision(stack).exists()
            assert list(leftovers(stack)) == []


class Killed(BaseException):
    """As if the process ended here: nothing behind it is done but what a test does."""


Told = Callable[[str, Path], None]


def watch(patched: pytest.MonkeyPatch, told: Told) -> None:
    """Have a function told of each step before it is taken: what, and of which path."""

    def telling(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(path: Path, *rest: Any, **options: Any) -> Any:
            told(name, Path(path))
            return step(path, *rest, **options)

        return run

    for name in ("rename", "replace", "unlink"):
        patched.setattr(Path, name, telling(name, getattr(Path, name)))
    patched.setattr(shutil, "rmtree", telling("rmtree", shutil.rmtree))
    patched.setattr(os, "fsync", lambda descriptor: told("fsync", Path(f"/proc/self/fd/{descriptor}").readlink()))


def killed_at(last: int, work: Callable[[], None], patched: pytest.MonkeyPatch) -> bool:
    """Whether work was ended by its step of that number, from 0; the removal of a folder has begun then."""
    left = iter(range(last))

    def kill(what: str, path: Path) -> None:
        if next(left, None) is None:
            if what == "rmtree":
                (path / "deep" / "was").write_text("half of what it was")
            raise Killed

    watch(patched, kill)
    try:
        work()
    except Killed:
        return True
    return False


def test_what_a_kill_interrupts_the_next_start_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[dict[str, str]] = []
    is_killed = True
    while is_killed:
        stack = stack_with(tmp_path / str(len(ends)), RESTORING, POSTGRES, KAFKA, REPLACED)
        with monkeypatch.context() as patched:
            is_killed = killed_at(len(ends), partial(replace_records, stack, KEYS, silent), patched)
        was_decided = decision(stack).exists() or not is_killed
        settle(stack, silent)
        ends.append(contents(stack))
        assert list(leftovers(stack)) == []
        is_changed = was_decided or REPLACED_RECORDS in ends[:-1]
        assert ends[-1] == (REPLACED_RECORDS if is_changed else UNCHANGED), f"killed at step {len(ends)}"
    assert len(ends) > 12
    assert UNCHANGED in ends


def test_each_step_is_durable_before_one_that_counts_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut forgets names that no fsync of their folder has followed, and bytes without one of their file."""
    stack = stack_with(tmp_path, RESTORING, POSTGRES, KAFKA, REPLACED)
    synced: set[Path] = set()
    uncertain: set[Path] = set()
    taken = []

    def look(what: str, path: Path) -> None:
        if what == "fsync":
            synced.add(path)
            uncertain.discard(path)
            return
        taken.append(what)
        if what == "rmtree":
            assert not uncertain, f"{uncertain} may be forgotten, and {path} is gone"
            return  # Should it come back, it goes again.
        if what == "rename" and path in (stack.data(POSTGRES), stack.data(KAFKA)):
            assert uncertain <= {stack.data("")}, "the decision is durable before anything moves"
        else:
            assert not uncertain, f"{uncertain} may be forgotten behind {what} of {path}"
        if what == "replace":
            assert path in synced, f"{path} may be empty"
        uncertain.add(path.parent)

    watch(monkeypatch, look)
    replace_records(stack, KEYS, silent)
    assert taken == ["replace", "rmtree", "rename", "rename", "rename", "replace", "unlink", "rmtree", "rmtree"]


def test_what_can_not_be_removed_is_told_of_and_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = stack_with(tmp_path, RESTORING, POSTGRES, KAFKA, is_decided=True)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        settle(stack, told.append)
        settle(stack, told.append)
    assert contents(stack)[POSTGRES] == RESTORING
    assert sum("can't be removed" in line and "by hand" in line for line in told) == 4
    settle(stack, silent)
    assert contents(stack) == {POSTGRES: RESTORING, "keys": "of the backup"}


async def test_nothing_is_removed_under_a_server_that_works_there(tmp_path: Path) -> None:
    stack = stack_with(tmp_path, RESTORING, POSTGRES)
    lock = FolderLock(stack.data(RESTORING))
    await lock.acquire(timeout_seconds=0)
    told: list[str] = []
    settle(stack, told.append)
    assert [path.name for path in leftovers(stack)] == [RESTORING]
    assert "a server works in it still" in told[0]
    lock.release()
    settle(stack, silent)
    assert list(leftovers(stack)) == []
