"""What file steps do with what was found, and which of them go side by side, as functions of values."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3_syncer.file_steps import (
    WAVE_STEPS,
    Found,
    Intent,
    StepRecord,
    aside,
    next_wave,
    planned_copy,
    planned_removal,
    results_of,
    sets_aside,
    taken_back,
    without_source,
)
from shared.events import FileAt, FilePlace, FileStep, FileStepResult
from shared.messaging.retry import Failure

TASK = UUID(int=3)
KEYS = st.sampled_from(["a", "b", "c", "d"])


def at(key: str, place: FilePlace = FilePlace.BUCKET) -> FileAt:
    return FileAt(place=place, key=key)


def copy(source: str = "old", target: str = "new", **options: object) -> FileStep:
    return FileStep.model_validate({"kind": "copy", "source": at(source), "target": at(target), **options})


def remove(target: str = "old", **options: object) -> FileStep:
    return FileStep.model_validate({"kind": "remove", "target": at(target), **options})


def found(sha256: str, etag: str = "e") -> Found:
    return Found(3, etag, sha256)


def code_of(record: StepRecord) -> str | None:
    assert record.result is not None
    return record.result.code


def test_a_copy_is_made_where_nothing_is() -> None:
    assert planned_copy(copy(), "aa", None) == StepRecord(intent=Intent.COPY, sha256="aa")


def test_a_copy_that_is_there_is_left() -> None:
    record = planned_copy(copy(replaces=True), "aa", found("aa"))
    assert record.intent is Intent.NOTHING
    assert record.result == FileStepResult(status="unchanged", size_bytes=3, sha256="aa", etag="e")


def test_other_bytes_are_a_conflict_unless_they_are_to_be_replaced() -> None:
    refused = planned_copy(copy(), "aa", found("bb"))
    assert (refused.intent, code_of(refused)) == (Intent.REFUSED, "conflict")
    replacing = planned_copy(copy(replaces=True), "aa", found("bb"))
    assert replacing == StepRecord(intent=Intent.REPLACE, sha256="aa", before_sha256="bb", before_etag="e")


def test_a_source_that_is_gone_fails_or_is_skipped() -> None:
    assert code_of(without_source(copy())) == "source_missing"
    assert without_source(copy()).has_failed
    skipped = without_source(copy(may_lack_source=True))
    assert (skipped.has_failed, skipped.intent) == (False, Intent.NOTHING)
    # Even where other bytes are in the way: there is nothing to copy.
    assert not planned_copy(copy(may_lack_source=True), None, found("bb")).has_failed


@pytest.mark.parametrize(
    ("guard", "code"),
    [
        ({}, None),
        ({"sha256": "aa"}, None),
        ({"sha256": "bb"}, "changed"),
        ({"etag": "e"}, None),
        ({"etag": "f"}, "changed"),
        ({"sha256": "aa", "etag": "f"}, "changed"),
    ],
)
def test_only_what_is_meant_is_removed(guard: dict[str, str], code: str | None) -> None:
    record = planned_removal(remove(**guard), found("aa"))
    assert record.intent is (Intent.REFUSED if code else Intent.REMOVE)
    assert (record.result.code if record.result else None) == code


def test_what_is_gone_needs_no_removal() -> None:
    record = planned_removal(remove(sha256="aa"), None)
    assert record == StepRecord(intent=Intent.NOTHING, result=FileStepResult(status="unchanged"))


STEPS = st.lists(st.builds(copy, KEYS, KEYS) | st.builds(remove, KEYS), min_size=1, max_size=30)


@given(STEPS)
def test_waves_hold_every_step_once_and_none_that_disturbs_another(steps: list[FileStep]) -> None:
    waves, start = [], 0
    while start < len(steps):
        waves.append(next_wave(steps, start))
        start = waves[-1].stop
    assert [index for wave in waves for index in wave] == list(range(len(steps)))
    for wave in waves:
        assert len({steps[index].kind for index in wave}) == 1
        targets = [steps[index].target for index in wave]
        assert len(set(targets)) == len(targets)
        for index in wave:
            others = {steps[other].target for other in wave if other != index}
            assert steps[index].source not in others


def test_waves_are_bounded() -> None:
    steps = [remove(f"k{index}") for index in range(WAVE_STEPS + 5)]
    assert next_wave(steps, 0) == range(WAVE_STEPS)
    assert next_wave(steps, WAVE_STEPS) == range(WAVE_STEPS, WAVE_STEPS + 5)


def test_what_a_later_step_may_need_again_is_set_aside() -> None:
    steps = [remove("a"), copy("b", "c", replaces=True), copy("d", "e"), remove("f")]
    assert [sets_aside(steps, index, is_atomic=True) for index in range(4)] == [True, True, False, False]
    assert not any(sets_aside(steps, index, is_atomic=False) for index in range(4))
    places = [aside(TASK, index, step) for index, step in enumerate(steps)]
    assert all(first != second for first, second in pairwise(places))
    assert aside(TASK, 0, FileStep(kind="remove", target=at("a", FilePlace.DISK))).place is FilePlace.DISK


def test_every_step_has_a_result() -> None:
    steps = [copy("a", "b"), copy("b", "c"), remove("a")]
    told = results_of(steps, [StepRecord(intent=Intent.COPY, result=FileStepResult(status="done"))])
    assert [result.status for result in told] == ["done", "not_tried", "not_tried"]


def test_only_what_was_changed_is_undone() -> None:
    done, unchanged = FileStepResult(status="done"), FileStepResult(status="unchanged")
    made = StepRecord(intent=Intent.COPY, sha256="aa", result=done)
    there = StepRecord(intent=Intent.NOTHING, result=unchanged)
    result = taken_back(made, None).result
    assert result is not None
    assert result.status == "undone"
    assert taken_back(there, None) == there
    assert taken_back(StepRecord(intent=Intent.COPY), None).result is None
    kept = taken_back(made, Failure("store_error", "no", 5)).result
    assert kept is not None
    assert (kept.status, kept.code) == ("done", "undo_failed")
