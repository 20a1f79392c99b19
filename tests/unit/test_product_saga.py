"""Changes of a product's files as functions of values: every way forwards, and back again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_api.product_saga import Move, Position, Stage, Work, after, failure_of, first, parts_of
from shared.events import FileAt, FilePlace, FileStep, FileStepResult


def at(key: str) -> FileAt:
    return FileAt(place=FilePlace.BUCKET, key=key)


def copy(number: int) -> FileStep:
    return FileStep(kind="copy", source=at(f"old/{number}"), target=at(f"new/{number}"), sha256="aa")


def remove(number: int) -> FileStep:
    return FileStep(kind="remove", target=at(f"old/{number}"), sha256="aa")


class Stores:
    """Carries tasks out as s3-syncer does; the task with the number `fails_at` fails and is taken back."""

    def __init__(self, images: int, fails_at: int | None) -> None:
        self.keys = {f"old/{number}" for number in range(images)}
        self.records = "old"
        self._fails_at = fails_at
        self._images = images
        self._tasks = 0

    def task(self, steps: tuple[FileStep, ...], *, is_atomic: bool) -> tuple[bool, list[FileStepResult]]:
        self._tasks += 1
        if self._tasks - 1 == self._fails_at and is_atomic:
            return False, [FileStepResult(status="failed", code="conflict", detail="no") for _ in steps]
        results = []
        for step in steps:
            there = step.target.key in self.keys
            if step.source is not None:
                assert step.source.key in self.keys or step.may_lack_source
                self.keys.add(step.target.key)
                results.append(FileStepResult(status="unchanged" if there else "done", sha256="aa"))
            else:
                self.keys.discard(step.target.key)
                results.append(FileStepResult(status="done" if there else "unchanged"))
        return True, results

    def follow(self, work: Work) -> str:
        """From beginning to end; whoever reads the records finds their files at any time."""
        move = first(work)
        while True:
            if move.switch is not None:
                self.records = "new" if move.switch == "forth" else "old"
            assert {f"{self.records}/{number}" for number in range(self._images)} <= self.keys
            if move.next is None:
                assert move.ending is not None
                return move.ending
            here = move.next
            succeeded, results = self.task(work.steps(here), is_atomic=here.is_atomic)
            if here.stage is Stage.COPYING and succeeded:
                work = work.with_copied(here.part, results)
            move = after(work, here, succeeded=succeeded)


@given(st.integers(0, 12), st.integers(1, 5), st.one_of(st.none(), st.integers(0, 12)))
def test_a_move_ends_wholly_done_or_wholly_as_before(images: int, most_steps: int, fails_at: int | None) -> None:
    work = Work(
        copies=parts_of(((copy(n),) for n in range(images)), most_steps),
        removals=parts_of(((remove(n),) for n in range(images)), most_steps),
    )
    stores = Stores(images, fails_at)
    before = set(stores.keys)
    ending = stores.follow(work)
    has_failed = fails_at is not None and fails_at < len(work.copies) + len(work.removals)
    assert ending == ("failed" if has_failed else "completed")
    if has_failed:
        assert (stores.keys, stores.records) == (before, "old")
    else:
        assert stores.keys == {f"new/{number}" for number in range(images)}
        assert stores.records == "new"


def test_copies_that_were_there_before_are_not_withdrawn() -> None:
    work = Work(copies=((copy(0), copy(1)), (copy(2),)))
    results = [FileStepResult(status="done", sha256="bb"), FileStepResult(status="unchanged", sha256="aa")]
    noted = work.with_copied(0, results)
    assert noted.withdrawals == ((FileStep(kind="remove", target=at("new/0"), sha256="bb"),),)
    move = after(noted, Position(Stage.COPYING, 1), succeeded=False)
    assert move == Move(None, Position(Stage.WITHDRAWING, 0), None)
    assert after(noted, Position(Stage.WITHDRAWING, 0), succeeded=False) == Move(None, None, "failed")


def test_a_removal_in_one_task_fails_without_a_trace() -> None:
    work = Work(removals=((remove(0), remove(1)), (remove(2),)))
    assert first(work) == Move("forth", Position(Stage.REMOVING, 0), None)
    assert after(work, Position(Stage.REMOVING, 0), succeeded=False) == Move(None, None, "failed")
    assert work.removed_keys(0) == set()
    assert work.removed_keys(1) == {"old/0", "old/1"}


def test_when_the_way_back_fails_the_records_keep_what_is_there() -> None:
    work = Work(copies=((copy(0),), (copy(1),)), removals=((remove(0),), (remove(1),)))
    back = after(work, Position(Stage.REMOVING, 1), succeeded=False)
    assert back == Move(None, Position(Stage.RESTORING, 0), None)
    assert after(work, Position(Stage.RESTORING, 0), succeeded=False) == Move(None, None, "failed")
    restoring = work.steps(Position(Stage.RESTORING, 0))[0]
    assert (restoring.source, restoring.target) == (at("new/0"), at("old/0"))


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(4, 10))
def test_steps_of_one_image_stay_in_one_task(sizes: list[int], most_steps: int) -> None:
    groups = [tuple(copy(100 * index + n) for n in range(size)) for index, size in enumerate(sizes)]
    parts = parts_of(groups, most_steps)
    assert [step for part in parts for step in part] == [step for group in groups for step in group]
    assert all(0 < len(part) <= most_steps for part in parts)
    for group in groups:
        assert sum(1 for part in parts if set(group) & set(part)) <= 1


@pytest.mark.parametrize(("step", "name"), [(copy(0), "copy_to_bucket"), (remove(0), "remove_from_bucket")])
def test_a_failure_names_its_step(step: FileStep, name: str) -> None:
    results = [FileStepResult(status="undone"), FileStepResult(status="failed", code="conflict", detail="other bytes")]
    failure = failure_of((copy(9), step), results)
    assert (failure.step, failure.code, failure.detail) == (name, "conflict", "other bytes")
