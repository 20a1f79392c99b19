"""What was removed waits in quarantine, can be undone there, and ends after its time."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from reconciler.commands import QUARANTINE_IS_OVER
from reconciler.comparison import FileClass
from reconciler.executing import Executing
from reconciler.leftovers import discard
from reconciler.planning import Action, PlanItem
from reconciler.quarantine import QuarantineExpiry
from reconciler.repositories.read_models import ReadModels
from reconciler.repositories.runs import Runs
from reconciler.runs import Stage
from reconciler.watch import Watch
from shared.events import (
    FilePlace,
    FileStepResult,
    FileTaskEndedV1,
    ProductImageChangedV1,
    ProductImageType,
    ReconcileRunChangedV1,
    RunFileTaskV1,
)
from shared.identifiers import new_id
from shared.storage.local_disk import LocalDiskStore
from tests.integration.reconciling.reconciler_world import (
    Reconciler,
    decide,
    delivery_of,
    kept_run,
    removal,
    run_command,
)

pytestmark = pytest.mark.stack


async def test_quarantine_ends_after_its_time_and_once(reconciler: Reconciler) -> None:
    command = run_command()
    items = [
        PlanItem(Action.REMOVE, FileClass.ORPHANED_IN_BUCKET, f"products/{name}.png", FilePlace.BUCKET, 1)
        for name in ("old", "young", "failed")
    ]
    async with reconciler.work.begin() as transaction:
        runs = Runs(transaction.connection)
        await runs.add(command)
        await runs.add_items(command.run_id, 0, items)
        for item, status in zip(items, ("done", "done", "failed"), strict=True):
            await runs.end_item(item.item_id, status)
        await transaction.connection.execute(
            "UPDATE plan_items SET ended_at = ended_at - interval '8 days' WHERE position <> 1"
        )
    expiry = QuarantineExpiry(reconciler.work, 7 * 24 * 3600)
    assert await expiry.sweep() == {"expired_files": 1}
    sql = "SELECT payload FROM outbox WHERE topic = 'sync.batches'"
    (row,) = await reconciler.rows(sql)
    (step,) = json.loads(row["payload"])["steps"]
    assert step["kind"] == "remove"
    assert step["target"] == {"place": "bucket", "key": f"quarantine/{command.run_id}/products/old.png"}


async def test_what_is_being_undone_does_not_expire_and_what_expired_is_not_undone(reconciler: Reconciler) -> None:
    expiry = QuarantineExpiry(reconciler.work, 7 * 24 * 3600)
    run_id = await kept_run(reconciler, Stage.PARTLY_UNDONE, [removal("late")], "undo_failed")
    await reconciler.rows("UPDATE plan_items SET ended_at = ended_at - interval '8 days' RETURNING 1")
    assert await decide(reconciler, run_id, "undo") == "undo_wanted"
    assert not await expiry.turn()
    over = await kept_run(reconciler, Stage.COMPLETED, [removal("old")], "done")
    await reconciler.rows("UPDATE plan_items SET ended_at = ended_at - interval '8 days' RETURNING 1")
    assert await expiry.turn()
    assert await decide(reconciler, over, "undo") == "completed"
    told = (await reconciler.told(ReconcileRunChangedV1))[-1]
    assert (told["run_id"], told["error"]) == (str(over), QUARANTINE_IS_OVER)


async def test_expiry_and_undo_of_one_plan_wait_for_each_other(reconciler: Reconciler) -> None:
    expiry = QuarantineExpiry(reconciler.work, 7 * 24 * 3600)
    run_id = await kept_run(reconciler, Stage.COMPLETED, [removal("old")], "done")
    await reconciler.rows("UPDATE plan_items SET ended_at = ended_at - interval '8 days' RETURNING 1")
    async with reconciler.work.begin() as deciding:
        await Runs(deciding.connection).lock(run_id)
        assert not await expiry.turn()
    assert await expiry.turn()


async def test_what_can_not_be_removed_from_quarantine_is_tried_again_later(reconciler: Reconciler) -> None:
    expiry = QuarantineExpiry(reconciler.work, 7 * 24 * 3600)
    await kept_run(reconciler, Stage.COMPLETED, [removal(name) for name in "ab"], "done")
    await reconciler.rows("UPDATE plan_items SET ended_at = ended_at - interval '8 days' RETURNING 1")
    assert await expiry.turn()
    (task,) = await reconciler.told(RunFileTaskV1)
    refused = task["steps"][1]["target"]["key"]
    ended = FileTaskEndedV1(
        task_id=task["task_id"],
        scope=task["scope"],
        succeeded=False,
        results=(FileStepResult(status="done"), FileStepResult(status="failed", code="access_denied", detail="no")),
        ended_at=datetime.now(UTC),
    )
    await expiry.task_ended(ended, delivery_of(ended))
    assert not await expiry.turn()
    await reconciler.rows("UPDATE plan_items SET expiry_failed_at = expiry_failed_at - interval '2 hours' RETURNING 1")
    assert await expiry.turn()
    again = (await reconciler.told(RunFileTaskV1))[-1]
    assert [step["target"]["key"] for step in again["steps"]] == [refused]


async def test_figures_tell_what_waits_and_what_quarantine_holds(reconciler: Reconciler) -> None:
    kept_seconds = 7 * 24 * 3600
    for stage in (Stage.AWAITING_APPROVAL, Stage.EXECUTING):
        await kept_run(reconciler, stage, [], "planned")
    await kept_run(reconciler, Stage.COMPLETED, [removal("a"), removal("b")], "done")
    await kept_run(reconciler, Stage.COMPLETED, [removal("c")], "failed")
    await reconciler.rows("UPDATE runs SET changed_at = changed_at - interval '1 hour' RETURNING 1")
    await reconciler.rows("UPDATE plan_items SET ended_at = ended_at - interval '7 days 1 minute' RETURNING 1")
    await Watch(reconciler.work, kept_seconds).look()
    names = ("plans_waiting", "plan_waiting_oldest_seconds", "reconcile_run_oldest_seconds")
    kept = ("quarantine_files", "quarantine_bytes", "quarantine_overdue_seconds", "alerts_given_up")
    values = [REGISTRY.get_sample_value(f"mediabus_{name}") or 0.0 for name in (*names, *kept)]
    # In whole minutes: some seconds may have passed since.
    assert [value // 60 * 60 if value > 10 else value for value in values] == [1, 3600, 3600, 2, 2, 60, 0]


async def test_what_did_not_come_back_though_a_record_names_it_can_be_undone(
    reconciler: Reconciler,
) -> None:
    item = removal("named")
    run_id = await kept_run(reconciler, Stage.EXECUTING, [item], "done")
    named = ProductImageChangedV1(
        product_id=new_id(),
        image_id=new_id(),
        version=1,
        variant_id=new_id(),
        weight="250g",
        image_type=ProductImageType.HERO_CARD,
        object_key=item.key,
        mime_type="image/png",
        size_bytes=1,
        sha256=None,
        on_disk=False,
        is_settled=True,
        is_removed=False,
        changed_at=datetime.now(UTC),
    )
    async with reconciler.work.begin() as transaction:
        await ReadModels(transaction.connection).know_image(named)
        await Runs(transaction.connection).send([(item.item_id, item.item_id)], "sent")
    unused = cast(Any, None)
    executing = Executing(reconciler.work, unused, unused, unused, in_flight=1, temporary_kept_seconds=1)

    async def ended(task_id: UUID, result: FileStepResult) -> tuple[str, str | None]:
        event = FileTaskEndedV1(
            task_id=task_id,
            scope="products",
            succeeded=result.status == "done",
            results=(result,) * 2,
            ended_at=datetime.now(UTC),
        )
        await executing.task_ended(event, delivery_of(event))
        (row,) = await reconciler.rows("SELECT status, code FROM plan_items WHERE plan_id = $1", run_id)
        return row["status"], row["code"]

    assert await ended(item.item_id, FileStepResult(status="done", sha256="0" * 64)) == ("returning", None)
    (task,) = await reconciler.told(RunFileTaskV1)
    refused = FileStepResult(status="failed", code="conflict", detail="other bytes came")
    assert await ended(UUID(task["task_id"]), refused) == ("undo_failed", "conflict")
    await reconciler.rows("UPDATE runs SET stage = 'completed' RETURNING 1")
    assert await decide(reconciler, run_id, "undo") == "undo_wanted"
    async with reconciler.work.begin() as transaction:
        (again,) = await Runs(transaction.connection).next_to_undo(run_id, 10)
    assert again.item_id == item.item_id


async def test_unfinished_files_go_unless_somebody_is_at_them(tmp_path: Path) -> None:
    old = time.time() - 7200
    source, key = tmp_path / "media/old.webp", "media/.tmp-left"
    source.parent.mkdir()
    source.write_bytes(b"stored long ago")
    os.utime(source, (old, old))
    # As a copy gives a file its second name: the time of writing is the old one's.
    (tmp_path / key).hardlink_to(source)
    async with LocalDiskStore(tmp_path) as disk:
        (tmp_path / "media/.tmp-young").write_bytes(b"is being written")
        assert [path.name async for path in disk.list_temporary("media/", older_than_seconds=3600)] == [".tmp-left"]
        both = [
            info.key async for page in disk.pages_with_temporary("media/", older_than_seconds=3600) for info in page
        ]
        assert both == [key, "media/old.webp"]
        (tmp_path / "media/.tmp-young").unlink()
        assert await discard(disk, key, 3600) == "somebody has written to it since"
        assert (tmp_path / key).exists()
        assert await discard(disk, "media/old.webp", 0) == "it is no unfinished file"
        assert [await discard(disk, key, 0) for _ in range(2)] == [None, None]
    assert [path.name for path in source.parent.iterdir()] == ["old.webp"]
