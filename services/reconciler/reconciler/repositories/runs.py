"""Runs and the items of their plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from reconciler.comparison import FileClass
from reconciler.planning import Action, PlanItem
from reconciler.runs import Run, Stage
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import FilePlace, ProductImageType, ReconcileScope, RunCounts, StartReconcileRunV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "runs.sql")
CHANNEL = "runs_reconcile"
"""NOTIFY channels are per database, so the schema's name is part of it."""


@dataclass(frozen=True, slots=True)
class KeptItem:
    """An item with what became of it."""

    item: PlanItem
    plan_id: UUID
    position: int
    status: str
    code: str | None
    detail: str | None
    is_expired: bool


class Runs:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    # --- runs -----------------------------------------------------------------------------------------------------

    async def add(self, command: StartReconcileRunV1) -> Run | None:
        """The run, queued; None if it was there already."""
        row = await self._connection.fetchrow(
            QUERIES["add"],
            command.run_id,
            command.scope.kind,
            command.scope.product_id,
            command.remove_orphaned,
            command.recreate_missing,
            command.approves,
            command.requested_by,
            command.requested_at,
        )
        return _run(row) if row else None

    async def get(self, run_id: UUID) -> Run | None:
        row = await self._connection.fetchrow(QUERIES["get"], run_id)
        return _run(row) if row else None

    async def lock(self, run_id: UUID) -> Run | None:
        row = await self._connection.fetchrow(QUERIES["lock"], run_id)
        return _run(row) if row else None

    async def claim(self, hold_seconds: float) -> Run | None:
        """The oldest run that wants work and stands in nobody's way, now held; None if there is none."""
        await self._connection.execute(QUERIES["lock_claims"])
        row = await self._connection.fetchrow(QUERIES["claim"], hold_seconds)
        return _run(row) if row else None

    async def hold(self, run_id: UUID, hold_seconds: float) -> None:
        await self._connection.execute(QUERIES["hold"], run_id, hold_seconds)

    async def release(self, run_id: UUID) -> None:
        """Let go of a run on which the work went well."""
        await self._connection.execute(QUERIES["release"], run_id)

    async def try_again(self, run_id: UUID, after_seconds: float) -> None:
        """Let go of a run that somebody has to go on with."""
        await self._connection.execute(QUERIES["try_again"], run_id, after_seconds)

    async def count_attempt(self, run_id: UUID) -> int:
        """Note that work failed; how often it did since it last went well."""
        return int(await self._connection.fetchval(QUERIES["count_attempt"], run_id))

    async def move(
        self,
        run_id: UUID,
        stage: Stage,
        *,
        counts: RunCounts | None = None,
        result: dict[str, Any] | None = None,
        needs_approval_because: str | None = None,
        error: str | None = None,
        decided_by: UUID | None = None,
        wants_work: bool = False,
        step: int | None = None,
    ) -> Run:
        """Record a run's next stage; what is None stays as it was, except the error."""
        row = await self._connection.fetchrow(
            QUERIES["move"],
            run_id,
            stage.value,
            counts.model_dump() if counts else None,
            result,
            needs_approval_because,
            error,
            decided_by,
            wants_work,
            step,
        )
        assert row is not None, "the run's row is gone while it is worked on"
        return _run(row)

    async def touch(self, run_id: UUID, error: str | None = None) -> Run:
        """The run under a new version: whoever expected it to change is told how it stands, and why."""
        row = await self._connection.fetchrow(QUERIES["touch"], run_id, error)
        assert row is not None, "the run's row is gone while it is locked"
        return _run(row)

    async def prune(self, kept_seconds: float, limit: int) -> int:
        """Forget runs that ended so long ago, with their plans; how many."""
        return affected_rows(await self._connection.execute(QUERIES["prune"], kept_seconds, limit))

    async def set_step(self, run_id: UUID, step: int) -> None:
        await self._connection.execute(QUERIES["set_step"], run_id, step)

    async def want_work(self, run_id: UUID) -> None:
        """Have somebody look at the run once this transaction has committed."""
        await self._connection.execute(QUERIES["want_work"], run_id)
        await self.wake()

    async def wake(self) -> None:
        await self._connection.execute(QUERIES["wake"])

    # --- items ----------------------------------------------------------------------------------------------------

    async def forget_items(self, plan_id: UUID) -> None:
        await self._connection.execute(QUERIES["forget_items"], plan_id)

    async def add_items(self, plan_id: UUID, first_position: int, items: Sequence[PlanItem]) -> None:
        rows = [{"number": number, **_item_json(item)} for number, item in enumerate(items)]
        await self._connection.execute(QUERIES["add_items"], plan_id, first_position, rows)

    async def next_planned(self, plan_id: UUID, step: int, limit: int) -> list[PlanItem]:
        rows = await self._connection.fetch(QUERIES["next_planned"], plan_id, step, limit)
        return [_item(row) for row in rows]

    async def next_to_undo(self, plan_id: UUID, limit: int) -> list[PlanItem]:
        return [_item(row) for row in await self._connection.fetch(QUERIES["next_to_undo"], plan_id, limit)]

    async def is_in_work(self, key: str) -> bool:
        """Whether some plan is at this file."""
        return bool(await self._connection.fetchval(QUERIES["is_in_work"], key))

    async def count_open(self, plan_id: UUID) -> int:
        """Items whose outcome is not told yet."""
        return int(await self._connection.fetchval(QUERIES["count_open"], plan_id))

    async def send(self, items: Sequence[tuple[UUID, UUID]], status: str) -> None:
        """Note under which task id each item is under way."""
        await self._connection.execute(QUERIES["send"], [one for one, _ in items], [task for _, task in items], status)

    async def end_item(
        self,
        item_id: UUID,
        status: str,
        code: str | None = None,
        detail: str | None = None,
        image_id: UUID | None = None,
        sha256: str | None = None,
    ) -> None:
        """`sha256` is of what was copied, for a plan that could not know it."""
        await self._connection.execute(QUERIES["end_item"], item_id, status, code, detail, image_id, sha256)

    async def item_of_task(self, task_id: UUID) -> KeptItem | None:
        """The item under way as this task; None for tasks of others, and for those that were told of before."""
        row = await self._connection.fetchrow(QUERIES["item_of_task"], task_id)
        return kept_item(row) if row else None

    async def outcome_counts(self, plan_id: UUID) -> Mapping[str, int]:
        """What became of a plan's items, by the names of RunCounts."""
        row = await self._connection.fetchrow(QUERIES["outcome_counts"], plan_id)
        assert row is not None
        return dict(row)

    async def failures_by_code(self, plan_id: UUID, failed: Sequence[str]) -> Mapping[str, int]:
        """How many items have one of the statuses in `failed`, by the reason."""
        rows = await self._connection.fetch(QUERIES["failures_by_code"], plan_id, failed)
        return {row["code"]: row["items"] for row in rows}

    async def try_undo_again(self, plan_id: UUID) -> None:
        """Have what could not be brought back tried with the rest."""
        await self._connection.execute(QUERIES["try_undo_again"], plan_id)

    async def problems(self, plan_id: UUID, failed: Sequence[str]) -> list[tuple[UUID | None, str]]:
        """Whose items failed, and how: `key: code: sentence`."""
        rows = await self._connection.fetch(QUERIES["problems"], plan_id, failed)
        return [
            (row["owner_id"], ": ".join(filter(None, (row["object_key"], row["code"], row["detail"])))) for row in rows
        ]

    async def items_page(self, plan_id: UUID, after: int, limit: int) -> list[KeptItem]:
        return [kept_item(row) for row in await self._connection.fetch(QUERIES["items_page"], plan_id, after, limit)]

    async def plan_groups(self, plan_id: UUID) -> list[Mapping[str, Any]]:
        """The items counted by action, why, place and status."""
        return list(await self._connection.fetch(QUERIES["plan_groups"], plan_id))

    async def plan_files(self, plan_id: UUID) -> list[Mapping[str, Any]]:
        """The files counted by why, and by whether they are in sync afterwards; `done` of them have come to that.

        What could not be brought back is still done.
        """
        return list(await self._connection.fetch(QUERIES["plan_files"], plan_id))

    async def has_items(self, plan_id: UUID) -> bool:
        return bool(await self._connection.fetchval(QUERIES["has_items"], plan_id))

    async def has_expired_items(self, plan_id: UUID) -> bool:
        return bool(await self._connection.fetchval(QUERIES["has_expired_items"], plan_id))


def _run(row: Mapping[str, Any]) -> Run:
    return Run(
        run_id=row["run_id"],
        scope=ReconcileScope(kind=row["scope_kind"], product_id=row["product_id"]),
        stage=Stage(row["stage"]),
        version=row["version"],
        remove_orphaned=row["remove_orphaned"],
        recreate_missing=row["recreate_missing"],
        approves=row["approves"],
        counts=RunCounts(**row["counts"]),
        result=row["result"],
        needs_approval_because=row["needs_approval_because"],
        error=row["error"],
        requested_by=row["requested_by"],
        decided_by=row["decided_by"],
        requested_at=row["requested_at"],
        changed_at=row["changed_at"],
        step=row["step"],
    )


def _item_json(item: PlanItem) -> dict[str, Any]:
    return {
        "item_id": str(item.item_id),
        "step": item.step,
        "action": item.action.value,
        "why": item.why.value,
        "object_key": item.key,
        "owner_id": str(item.owner_id) if item.owner_id else None,
        "place": item.place.value,
        "source": item.source.value if item.source else None,
        "replaces": item.replaces,
        "size_bytes": item.size_bytes,
        "etag": item.etag,
        "sha256": item.sha256,
        "image_id": str(item.image_id) if item.image_id else None,
        "weight": item.weight,
        "image_type": item.image_type.value if item.image_type else None,
        "mime_type": item.mime_type,
        "former": item.former,
    }


def _item(row: Mapping[str, Any]) -> PlanItem:
    return PlanItem(
        action=Action(row["action"]),
        why=FileClass(row["why"]),
        key=row["object_key"],
        place=FilePlace(row["place"]),
        size_bytes=row["size_bytes"],
        owner_id=row["owner_id"],
        source=FilePlace(row["source"]) if row["source"] else None,
        replaces=row["replaces"],
        etag=row["etag"],
        sha256=row["sha256"],
        image_id=row["image_id"],
        weight=row["weight"],
        image_type=ProductImageType(row["image_type"]) if row["image_type"] else None,
        mime_type=row["mime_type"],
        former=row["former"],
        step=row["step"],
        item_id=row["item_id"],
    )


def kept_item(row: Mapping[str, Any]) -> KeptItem:
    return KeptItem(
        _item(row), row["plan_id"], row["position"], row["status"], row["code"], row["detail"], row["is_expired"]
    )
