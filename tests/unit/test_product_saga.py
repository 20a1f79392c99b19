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


def aside(number: int) -> FileStep:
    return FileStep(kind="copy", source=at(f"old/{number}"), target=at(f"aside/{number}"), may_lack_source=True)


class Stores:
    """Carries tasks out as s3-syncer does; of the task with the number `fails_at` the last step fails.

    An atomic task is taken back then. `lacks` are images whose files are gone before anything begins.
    """

    def __init__(self, images: int, fails_at: int | None, lacks: frozenset[int] = frozenset()) -> None:
        self.records = "old"
        self._images = set(range(images)) - lacks
        self.keys = {f"old/{number}" for number in self._images}
        self._fails_at = fails_at
        self._tasks = 0

    def task(self, steps: tuple[FileStep, ...], *, is_atomic: bool) -> tuple[bool, list[FileStepResult]]:
        self._tasks += 1
        fails = self._tasks - 1 == self._fails_at
        if fails and is_atomic:
            return False, [FileStepResult(status="failed", code="conflict", detail="no") for _ in steps]
        results = [self._step(step) for step in (steps[:-1] if fails else steps)]
        if fails:
            results.append(FileStepResult(status="failed", code="changed", detail="no"))
        return not fails, results

    def _step(self, step: FileStep) -> FileStepResult:
        there = step.target.key in self.keys
        if step.source is None:
            self.keys.discard(step.target.key)
            return FileStepResult(status="done" if there else "unchanged")
        if there or (step.may_lack_source and step.source.key not in self.keys):
            return FileStepResult(status="unchanged", sha256="aa")
        assert step.source.key in self.keys
        self.keys.add(step.target.key)
        return FileStepResult(status="done", sha256="aa")

    def follow(self, work: Work) -> str:
        """From beginning to end; whoever reads the records finds their files at any time."""
        move = first(work)
        while True:
            if move.switch is not None:
                self.records = "new" if move.switch == "forth" else "old"
            if not work.sets_aside:
                assert {f"{self.records}/{number}" for number in self._images} <= self.keys
            if move.next is None:
                assert move.ending is not None
                if move.ending == "completed" and work.sets_aside:
                    self.keys -= {step.target.key for part in work.withdrawals for step in part}
                return move.ending
            here = move.next
            succeeded, results = self.task(work.steps(here), is_atomic=work.is_atomic(here))
            if here.stage is Stage.COPYING and succeeded:
                work = work.with_copied(here.part, results)
            elif here.stage is Stage.REMOVING:
                work = work.with_removed(here.part, results)
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


@given(
    st.integers(0, 12), st.integers(1, 5), st.one_of(st.none(), st.integers(0, 12)), st.frozensets(st.integers(0, 12))
)
def test_a_large_removal_ends_wholly_done_or_wholly_as_before(
    images: int, most_steps: int, fails_at: int | None, lacks: frozenset[int]
) -> None:
    work = Work(
        copies=parts_of(((aside(n),) for n in range(images)), most_steps),
        removals=parts_of(((remove(n),) for n in range(images)), most_steps),
        sets_aside=True,
    )
    stores = Stores(images, fails_at, lacks)
    before = set(stores.keys)
    ending = stores.follow(work)
    has_failed = fails_at is not None and fails_at < len(work.copies) + len(work.removals)
    assert ending == ("failed" if has_failed else "completed")
    assert stores.keys == (before if has_failed else set())


def test_what_can_not_be_put_back_stays_where_it_was_set_aside() -> None:
    work = Work(copies=((aside(0),), (aside(1),)), removals=((remove(0),), (remove(1),)), sets_aside=True)
    done = [FileStepResult(status="done", sha256="aa")]
    for part in range(2):
        work = work.with_copied(part, done).with_removed(part, done)
    assert after(work, Position(Stage.RESTORING, 1), succeeded=True) == Move(
        "back", Position(Stage.WITHDRAWING, 0), None
    )
    lost = work.without_withdrawals()
    # The other files are put back all the same.
    assert after(lost, Position(Stage.RESTORING, 0), succeeded=False) == Move(None, Position(Stage.RESTORING, 1), None)
    assert after(lost, Position(Stage.RESTORING, 1), succeeded=True) == Move("back", None, "failed")


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
    assert work.is_atomic(Position(Stage.REMOVING, 0))


def test_a_removal_fails_with_a_trace_only_where_copies_hold_its_files() -> None:
    move = Work(copies=((copy(0),),), removals=((remove(0),),))
    replacement = Work(copies=((copy(1),),), removals=((remove(0),),))
    at_removal = Position(Stage.REMOVING, 0)
    assert (move.is_atomic(at_removal), replacement.is_atomic(at_removal)) == (False, True)
    assert replacement.with_removed(0, [FileStepResult(status="failed")]).restorations == ()


@pytest.mark.parametrize(
    ("result", "is_restored"),
    [
        (FileStepResult(status="done"), True),
        (FileStepResult(status="unchanged"), False),
        (FileStepResult(status="not_tried"), False),
        (FileStepResult(status="failed", code="changed"), False),
        # It may be gone all the same: an answer of the store was lost, say.
        (FileStepResult(status="failed", code="refused"), True),
    ],
)
def test_just_what_a_removal_took_away_is_restored(result: FileStepResult, is_restored: bool) -> None:
    work = Work(copies=((copy(0),),), removals=((remove(0),),)).with_removed(0, [result])
    back = FileStep(kind="copy", source=at("new/0"), target=at("old/0"), sha256="aa")
    assert work.restorations == (((back,),) if is_restored else ())


def test_when_the_way_back_fails_the_records_keep_what_is_there() -> None:
    work = Work(copies=((copy(0),), (copy(1),)), removals=((remove(0),), (remove(1),)))
    gone = [FileStepResult(status="done")]
    work = work.with_removed(0, gone).with_removed(1, gone)
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
