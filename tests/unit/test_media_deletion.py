"""When a deletion for good goes on, and what is told of it: functions of values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ingest_api.media_deletion import (
    ANSWERING,
    IMAGE_PROCESSOR,
    RECONCILER,
    S3_SYNCER,
    Deletion,
    Step,
    next_step,
    receipt,
    waits_for,
)
from shared.events import DeletionReason
from shared.identifiers import new_id

BEGUN = Deletion(
    id=new_id(),
    media_id=new_id(),
    version=1,
    revision=1,
    entity_type="product",
    entity_id=None,
    keeps_bucket=False,
    reason=DeletionReason.REQUESTED,
    purge_id=None,
    requested_by=None,
    is_told=False,
    stage="forgetting",
    owing=frozenset(ANSWERING),
    slices={},
    trouble=None,
    begun_at=datetime(2026, 1, 2, tzinfo=UTC),
    completed_at=None,
)
REMOVING = replace(BEGUN, stage="removing", owing=frozenset({S3_SYNCER}))


@pytest.mark.parametrize(
    ("deletion", "renderings", "step"),
    [
        (BEGUN, 0, Step.WAIT),
        (replace(BEGUN, owing=frozenset({S3_SYNCER})), 1, Step.WAIT),
        (replace(BEGUN, owing=frozenset({S3_SYNCER})), 0, Step.REMOVE_FILES),
        (replace(BEGUN, owing=frozenset({S3_SYNCER, RECONCILER})), 0, Step.REMOVE_FILES),
        (REMOVING, 0, Step.WAIT),
        (replace(REMOVING, owing=frozenset({RECONCILER})), 0, Step.WAIT),
        (replace(REMOVING, owing=frozenset()), 0, Step.COMPLETE),
        (replace(REMOVING, owing=frozenset(), stage="completed"), 0, Step.WAIT),
    ],
)
def test_files_go_when_nobody_writes_any_more_and_the_record_when_all_have_answered(
    deletion: Deletion, renderings: int, step: Step
) -> None:
    assert next_step(deletion, renderings) is step


def test_it_says_for_whom_it_waits_and_why() -> None:
    assert {one["service"]: (one["because"] or {}).get("code") for one in waits_for(BEGUN, 2)} == {
        IMAGE_PROCESSOR: "renderings_open",
        RECONCILER: None,
        S3_SYNCER: "not_asked_yet",
    }
    told = {"place": "bucket", "code": "store_away", "detail": "no answer", "attempts": 3, "next_attempt_at": "soon"}
    [waiting] = waits_for(replace(REMOVING, trouble=told), 0)
    assert waiting["because"] == {
        "place": "bucket",
        "code": "store_away",
        "detail": "no answer",
        "attempts": 3,
        "nextAttemptAt": "soon",
    }
    assert waits_for(replace(REMOVING, completed_at=datetime.now(UTC)), 0) == []


def test_a_receipt_without_answers_says_that_nothing_was_removed() -> None:
    nothing = {"files": 0, "bytes": 0, "list": []}
    assert receipt(BEGUN) == {"removed": nothing, "kept": nothing | {"because": None}, "records": {}}
