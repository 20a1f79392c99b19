"""A reconciler without its process: its database, a bucket, and what it would publish."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import SecretStr

from reconciler.alerts import Alerts
from reconciler.commands import Commands
from reconciler.comparison import FileClass
from reconciler.planning import Action, PlanItem
from reconciler.repositories.known_objects import KnownObjects
from reconciler.repositories.runs import Runs
from reconciler.runs import Stage
from reconciler.settings import ReconcilerSettings
from reconciler.sweep import Sweep
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    BucketObjectV1,
    DecideOnPlanV1,
    Envelope,
    Event,
    FilePlace,
    ReconcileScope,
    RunCounts,
    StartReconcileRunV1,
    StoredFile,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.storage.s3 import S3Store

BUCKET = "mediabus"


@dataclass
class Reconciler:
    """Its database, its settings, and what it would publish."""

    database: Database
    folder: Path
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work = UnitOfWork(self.database, source="/mediabus/reconciler", schema="reconcile")

    def settings(self, **changes: Any) -> ReconcilerSettings:
        return ReconcilerSettings(
            postgres_dsn=SecretStr(self.database.dsn),
            kafka_bootstrap="unused",
            media_root=self.folder,
            http_port=1,
            **changes,
        )

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def told(self, event_type: type[Event]) -> list[dict[str, Any]]:
        """What was published of one type, oldest first."""
        sql = "SELECT payload FROM outbox WHERE headers->>'ce_type' = $1 ORDER BY id"
        return [json.loads(row["payload"]) for row in await self.rows(sql, event_type.event_type)]


def stored_file(key: str, content: bytes) -> StoredFile:
    """A variant as image-processor tells of it."""
    return StoredFile(
        name="small",
        key=key,
        mime_type="image/webp",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        width_px=1,
        height_px=1,
    )


def delivery_of(event: Event) -> Delivery:
    envelope = Envelope.new(event, "/test")
    return Delivery("reconciler", envelope, event.topic.name, 0, 0, event.key().encode(), {}, event.payload(), 1)


@dataclass
class Swept:
    """A prefix of its own in the bucket, and the sweep of it."""

    reconciler: Reconciler
    store: S3Store
    prefix: str

    def sweep(self, **changes: Any) -> Sweep:
        defaults = {"sweep_prefixes": (self.prefix,), "sweep_grace_seconds": 0, "sweep_every_seconds": 0.001}
        return Sweep(self.reconciler.work, self.store, self.reconciler.settings(**{**defaults, **changes}))

    async def put(self, name: str, content: bytes = b"x") -> str:
        await self.store.put_bytes(self.prefix + name, content)
        return self.prefix + name

    async def notify(self, key: str, happened: Any, **changes: Any) -> None:
        values: dict[str, Any] = {"happened_at": datetime.now(UTC), "event_name": "s3:Object", "told_by": "webhook"}
        event = BucketObjectV1(bucket=BUCKET, object_key=key, happened=happened, **{**values, **changes})
        async with self.reconciler.work.begin() as transaction:
            await KnownObjects(transaction.connection).know(event)

    async def told(self) -> list[tuple[str, str]]:
        """What the sweep told, and that all of it says so."""
        events = await self.reconciler.told(BucketObjectV1)
        assert {event["told_by"] for event in events} <= {"sweep"}
        return [(event["happened"], event["object_key"].removeprefix(self.prefix)) for event in events]


def run_command(**changes: Any) -> StartReconcileRunV1:
    """What the clock asks for at night, but for the changes."""
    wanted: dict[str, Any] = {
        "run_id": new_id(),
        "scope": ReconcileScope(kind="products"),
        "remove_orphaned": True,
        "recreate_missing": False,
        "approves": True,
        "requested_by": None,
        "requested_at": datetime.now(UTC),
    }
    return StartReconcileRunV1(**{**wanted, **changes})


async def ended_run(
    reconciler: Reconciler, alerts: Alerts, stage: Stage = Stage.COMPLETED, *, by_clock: bool = True, **counts: Any
) -> None:
    command = run_command(requested_by=None if by_clock else new_id())
    async with reconciler.work.begin() as transaction:
        runs = Runs(transaction.connection)
        await runs.add(command)
        error = "the bucket is away" if stage is Stage.FAILED else None
        await alerts.tell(transaction, await runs.move(command.run_id, stage, counts=RunCounts(**counts), error=error))


async def kept_run(reconciler: Reconciler, stage: Stage, items: Sequence[PlanItem], status: str) -> UUID:
    """A run whose items ended with this status."""
    command = run_command()
    async with reconciler.work.begin() as transaction:
        runs = Runs(transaction.connection)
        await runs.add(command)
        await runs.add_items(command.run_id, 0, items)
        for item in items:
            await runs.end_item(item.item_id, status)
        await runs.move(command.run_id, stage)
    return command.run_id


def removal(name: str) -> PlanItem:
    return PlanItem(Action.REMOVE, FileClass.ORPHANED_IN_BUCKET, f"products/{name}.png", FilePlace.BUCKET, 1)


async def decide(reconciler: Reconciler, run_id: UUID, decision: Literal["approve", "discard", "undo"]) -> str:
    """The stage in which the decision leaves the run."""
    command = DecideOnPlanV1(
        plan_id=run_id,
        scope=ReconcileScope(kind="products"),
        decision=decision,
        decided_by=new_id(),
        decided_at=datetime.now(UTC),
    )
    await Commands(reconciler.work).decide(command, delivery_of(command))
    (row,) = await reconciler.rows("SELECT stage FROM runs WHERE run_id = $1", run_id)
    return str(row["stage"])
