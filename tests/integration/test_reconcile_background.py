"""What reconciler does by itself: the sweep, the nightly clock, alerts, the end of quarantine; on PostgreSQL and S3."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from pydantic import SecretStr

from deploy.local.object_store import ObjectStoreServer
from deploy.local.ports import free_port
from reconciler.alerts import Alerts, channels_of
from reconciler.commands import QUARANTINE_IS_OVER, Commands
from reconciler.comparing import Comparing
from reconciler.comparison import FileClass
from reconciler.executing import Executing
from reconciler.freshness import Freshness
from reconciler.leftovers import discard
from reconciler.looking import Looking
from reconciler.nightly import NightlyRun
from reconciler.planning import Action, Guard, PlanItem
from reconciler.quarantine import QuarantineExpiry
from reconciler.repositories.known_objects import KnownObjects
from reconciler.repositories.read_models import ReadModels
from reconciler.repositories.runs import Runs
from reconciler.retention import Retention
from reconciler.runner import Runner
from reconciler.runs import Run, Stage
from reconciler.scrub import Scrub
from reconciler.settings import ReconcilerSettings
from reconciler.sweep import Sweep
from reconciler.watch import Watch
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    BucketObjectV1,
    DecideOnPlanV1,
    Envelope,
    Event,
    FilePlace,
    FileStepResult,
    FileTaskEndedV1,
    ProductChangedV1,
    ProductImageChangedV1,
    ProductImageType,
    ReconcileRunChangedV1,
    ReconcileScope,
    RunCounts,
    RunFileTaskV1,
    ScheduleDueV1,
    ScheduledWorkDoneV1,
    StartReconcileRunV1,
    StoredFile,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled
from shared.messaging.retry import RetryPolicy
from shared.messaging.topics import Topic
from shared.storage.errors import StoreUnavailable
from shared.storage.keys import MediaKey
from shared.storage.local_disk import LocalDiskStore
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings
from shared.storage.staging import LocalStaging
from shared.storage.stores import Stores
from shared.testing.databases import TestDatabase
from shared.testing.waiting import eventually
from tests.skewed_store import skewed_store

pytestmark = pytest.mark.stack
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


@pytest.fixture
async def reconciler(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Reconciler]:
    opened = Database(database.dsn("reconciler"), application_name="test")
    yield Reconciler(opened, tmp_path)
    await opened.close()


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


# --- the sweep --------------------------------------------------------------------------------------------------------


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


@pytest.fixture
async def swept(reconciler: Reconciler, object_store_server: ObjectStoreServer) -> AsyncIterator[Swept]:
    settings = S3Settings(
        endpoint=object_store_server.endpoint,
        bucket=BUCKET,
        access_key=SecretStr(object_store_server.access_key),
        secret_key=SecretStr(object_store_server.secret_key),
    )
    async with S3Store(settings) as store:
        made = Swept(reconciler, store, f"products/{new_id()}/")
        yield made
        async for info in store.list(made.prefix):
            await store.delete(info.key)


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


# --- comparing --------------------------------------------------------------------------------------------------------


class Heard(Freshness):
    """Everything that was told is known."""

    async def wait(self, topics: Sequence[Topic], within_seconds: float) -> None:
        return None


async def compared(swept: Swept, product_id: UUID) -> tuple[str, str | None, list[str]]:
    """Stage, error and planned keys of a run over the product that wants everything repaired."""
    reconciler = swept.reconciler
    settings = reconciler.settings(object_grace_seconds=0)
    command = StartReconcileRunV1(
        run_id=new_id(),
        scope=ReconcileScope(kind="product", product_id=product_id),
        remove_orphaned=True,
        recreate_missing=False,
        approves=True,
        requested_by=new_id(),
        requested_at=datetime.now(UTC),
    )
    async with LocalDiskStore(reconciler.folder) as disk:
        stores = Stores(disk, swept.store, LocalStaging(disk))
        looking = Looking(stores, Heard("unused", "reconciler"), settings)
        comparing = Comparing(reconciler.work, looking, Guard(20, 0.1, 1000), Alerts(reconciler.work, []))
        async with reconciler.work.begin() as transaction:
            await Runs(transaction.connection).add(command)
        async with reconciler.work.begin() as transaction:
            run = await Runs(transaction.connection).claim(60)
        assert run is not None
        await comparing.compare(run)
    (row,) = await reconciler.rows("SELECT stage, error FROM runs WHERE run_id = $1", command.run_id)
    sql = "SELECT object_key FROM plan_items WHERE plan_id = $1 ORDER BY object_key"
    return row["stage"], row["error"], [item["object_key"] for item in await reconciler.rows(sql, command.run_id)]


async def test_nothing_follows_from_a_listing_that_breaks_off_half_way(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    product_id = UUID(swept.prefix.split("/")[1])
    product = ProductChangedV1(
        product_id=product_id, version=1, name="Coffee", is_deleted=False, variants=(), changed_at=datetime.now(UTC)
    )
    async with swept.reconciler.work.begin() as transaction:
        await ReadModels(transaction.connection).know_product(product)
    keys = [await swept.put(f"{number}.txt") for number in range(3)]
    whole = swept.store.pages

    async def broken(prefix: str = "", *, start_after: str = "") -> AsyncIterator[Any]:
        async for page in whole(prefix, start_after=start_after):
            yield page[:2]
            raise StoreUnavailable("s3", "cut off")

    monkeypatch.setattr(swept.store, "pages", broken)
    stage, error, planned = await compared(swept, product_id)
    assert (stage, planned) == ("failed", [])
    assert "nothing follows from it" in str(error)
    assert "cut off" in str(error)
    monkeypatch.undo()
    assert await compared(swept, product_id) == ("executing", None, keys)


@pytest.mark.parametrize("hours", [5, -5])
async def test_ages_are_told_by_the_clock_of_the_bucket_however_wrong_it_is(swept: Swept, hours: int) -> None:
    """Ahead, what was left behind would never be old enough; behind, an upload under way would look abandoned."""
    reconciler, product_id = swept.reconciler, UUID(swept.prefix.split("/")[1])
    key = await swept.put("just now.png")
    async with (
        skewed_store(swept.store.settings.endpoint, timedelta(hours=hours)) as endpoint,
        S3Store(swept.store.settings.model_copy(update={"endpoint": endpoint})) as skewed,
        LocalDiskStore(reconciler.folder) as disk,
    ):
        (listed,) = [info async for info in skewed.list(swept.prefix)]
        assert abs(listed.modified_at - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=10)
        stores = Stores(disk, skewed, LocalStaging(disk))

        async def found(grace_seconds: float) -> dict[str, FileClass]:
            settings = reconciler.settings(object_grace_seconds=grace_seconds)
            looking = Looking(stores, Heard("unused", "reconciler"), settings)
            async with reconciler.work.begin() as transaction:
                scope = ReconcileScope(kind="product", product_id=product_id)
                findings = looking.findings(ReadModels(transaction.connection), scope)
                return {finding.key: finding.kind async for finding in findings}

        assert await found(3600) == {key: FileClass.UNSETTLED}

        async def is_old() -> bool:
            return await found(1) == {key: FileClass.ORPHANED_IN_BUCKET}

        await eventually(is_old, within_seconds=20, why="the object is older than a second")


async def test_files_of_an_older_revision_are_nobodys_only_after_a_while(swept: Swept) -> None:
    """Until then they are kept for who has their addresses."""
    reconciler, media_id = swept.reconciler, new_id()
    both = MediaKey(media_id, 1, "original", "webp")
    old, new = MediaKey(media_id, 1, "small", "webp"), MediaKey(media_id, 2, "small", "webp")

    async def processed(revision: int, *keys: MediaKey) -> None:
        files = [stored_file(str(key), b"content") for key in keys]
        async with reconciler.work.begin() as transaction:
            records = ReadModels(transaction.connection)
            await records.know_processed(media_id, revision, files, on_disk=True, in_bucket=False, copy_waits=False)

    async def found(disk: LocalDiskStore, grace_seconds: float) -> dict[str, FileClass]:
        settings = reconciler.settings(media_grace_seconds=grace_seconds, record_grace_seconds=0)
        looking = Looking(Stores(disk, swept.store, LocalStaging(disk)), Heard("unused", "reconciler"), settings)
        async with reconciler.work.begin() as transaction:
            findings = looking.findings(ReadModels(transaction.connection), ReconcileScope(kind="media"))
            return {finding.key: finding.kind async for finding in findings if str(media_id) in finding.key}

    async with LocalDiskStore(reconciler.folder) as disk:
        for key in (both, old, new):
            await disk.put_bytes(str(key), b"content")
            os.utime(reconciler.folder / str(key), (1, 1))
        await processed(1, both, old)
        await processed(2, both, new)
        as_recorded = {str(both): FileClass.SYNCED, str(new): FileClass.SYNCED}
        assert await found(disk, 3600) == {**as_recorded, str(old): FileClass.UNSETTLED}
        assert await found(disk, 0) == {**as_recorded, str(old): FileClass.ORPHANED_ON_DISK}
        async with reconciler.work.begin() as transaction:
            records = ReadModels(transaction.connection)
            named = [await records.is_referenced(str(key), FilePlace.DISK) for key in (both, old, new)]
        assert named == [True, False, True]
        await reconciler.rows("UPDATE media_files SET superseded_at = superseded_at - interval '8 days' RETURNING 1")
        await Retention(reconciler.work, 90 * 24 * 3600).sweep()
        kept = await reconciler.rows("SELECT object_key FROM media_files ORDER BY object_key")
        assert [row["object_key"] for row in kept] == [str(both), str(new)]


# --- the night --------------------------------------------------------------------------------------------------------


async def test_a_night_begins_one_run_that_removes_orphans_and_makes_nothing(reconciler: Reconciler) -> None:
    nightly = NightlyRun(reconciler.work)
    event = ScheduleDueV1(name="reconcile.nightly", due_at=datetime(2026, 3, 1, 2, tzinfo=UTC), run_id=new_id())
    first = delivery_of(event)
    await nightly.begin(event, first)
    with pytest.raises(AlreadyHandled):
        await nightly.begin(event, first)
    await nightly.begin(event, delivery_of(event))
    (run,) = await reconciler.rows("SELECT * FROM runs")
    assert run["run_id"] == event.run_id
    assert (run["scope_kind"], run["remove_orphaned"], run["recreate_missing"]) == ("products", True, False)
    assert (run["approves"], run["requested_by"], run["stage"]) == (True, None, "queued")


async def test_the_clock_hears_of_the_end_of_a_night_and_of_no_other_run(reconciler: Reconciler) -> None:
    alerts = Alerts(reconciler.work, [])
    await ended_run(reconciler, alerts, by_clock=False)
    await ended_run(reconciler, alerts, Stage.AWAITING_APPROVAL, removals=30)
    assert await reconciler.told(ScheduledWorkDoneV1) == []
    await ended_run(reconciler, alerts, removals=2, done=2)
    await ended_run(reconciler, alerts, Stage.FAILED)
    done, failed = await reconciler.told(ScheduledWorkDoneV1)
    assert (done["name"], done["service"], done["error"]) == ("reconcile.nightly", "reconciler", None)
    assert done["counts"] == {"removals": 2, "done": 2}
    assert failed["error"] == "the bucket is away"


# --- alerts -----------------------------------------------------------------------------------------------------------


async def ended_run(
    reconciler: Reconciler, alerts: Alerts, stage: Stage = Stage.COMPLETED, *, by_clock: bool = True, **counts: Any
) -> None:
    command = StartReconcileRunV1(
        run_id=new_id(),
        scope=ReconcileScope(kind="products"),
        remove_orphaned=True,
        recreate_missing=False,
        approves=True,
        requested_by=None if by_clock else new_id(),
        requested_at=datetime.now(UTC),
    )
    async with reconciler.work.begin() as transaction:
        runs = Runs(transaction.connection)
        await runs.add(command)
        error = "the bucket is away" if stage is Stage.FAILED else None
        await alerts.tell(transaction, await runs.move(command.run_id, stage, counts=RunCounts(**counts), error=error))


@asynccontextmanager
async def sending(alerts: Alerts) -> AsyncIterator[None]:
    task = asyncio.create_task(alerts.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def webhook(answers: list[int]) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A receiver that answers with these statuses in turn, then with 204."""
    received: list[dict[str, Any]] = []

    async def receive(request: web.Request) -> web.Response:
        received.append(await request.json())
        return web.Response(status=answers.pop(0) if answers else 204)

    app, port = web.Application(), free_port()
    app.router.add_post("/alerts", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/alerts", received
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("stage", "counts", "subject"),
    [
        (Stage.COMPLETED, {"orphaned": 2, "missing": 1}, "Checking products found files: orphaned 2, missing 1"),
        (Stage.COMPLETED, {"failed": 1, "errors": 2}, "Checking products found files: failed 1, unfinished 2"),
        (Stage.FAILED, {}, "Checking products failed: the bucket is away"),
    ],
)
async def test_an_alert_tells_what_the_night_found(
    reconciler: Reconciler, stage: Stage, counts: dict[str, Any], subject: str
) -> None:
    async with webhook([]) as (url, received):
        alerts = Alerts(reconciler.work, channels_of(reconciler.settings(alert_webhook_url=url)))
        await ended_run(reconciler, alerts, stage, **counts)
        async with sending(alerts):
            await eventually(lambda: received, why="the webhook hears of it")
    assert [alert["subject"] for alert in received] == [subject]


async def test_a_quiet_night_and_what_a_person_asked_for_are_no_alert(reconciler: Reconciler) -> None:
    alerts = Alerts(reconciler.work, channels_of(reconciler.settings()))
    await ended_run(reconciler, alerts, synced=5)
    await ended_run(reconciler, alerts, by_clock=False, orphaned=5)
    assert await reconciler.rows("SELECT 1 FROM alerts") == []


async def test_an_alert_that_did_not_get_through_is_sent_again(reconciler: Reconciler) -> None:
    async with webhook([500]) as (url, received):
        alerts = Alerts(reconciler.work, channels_of(reconciler.settings(alert_webhook_url=url)))
        await ended_run(reconciler, alerts, orphaned=1)
        async with sending(alerts):

            async def refused() -> bool:
                rows = await reconciler.rows("SELECT 1 FROM alerts WHERE channel = 'webhook' AND attempts = 1")
                return bool(rows)

            await eventually(refused, why="the webhook refuses it")
            await reconciler.rows("UPDATE alerts SET due_at = clock_timestamp() WHERE ended_at IS NULL RETURNING 1")
            await eventually(lambda: len(received) == 2, why="it comes again")
    assert received[0] == received[1]


async def test_an_alert_goes_by_e_mail(reconciler: Reconciler) -> None:
    letters: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                letters.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
            if verb == "QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port := free_port())
    async with server:
        settings = reconciler.settings(
            alert_smtp_host="127.0.0.1", alert_smtp_port=port, alert_email_to=["ops@example.test"]
        )
        alerts = Alerts(reconciler.work, channels_of(settings))
        await ended_run(reconciler, alerts, orphaned=3)
        async with sending(alerts):
            await eventually(lambda: letters, why="the letter arrives")
    assert "Subject: [Mediabus] Checking products found files: orphaned 3" in letters[0]
    assert "To: ops@example.test" in letters[0]


async def test_rot_without_a_good_copy_is_told_once_and_again_when_that_is_forgotten(reconciler: Reconciler) -> None:
    file = stored_file(str(MediaKey(new_id(), 1, "small", "webp")), b"good")
    async with reconciler.work.begin() as transaction:
        await ReadModels(transaction.connection).know_processed(
            new_id(), 1, [file], on_disk=True, in_bucket=False, copy_waits=False
        )
    settings = reconciler.settings(scrub_rest_seconds=0.001)
    alerts = Alerts(reconciler.work, channels_of(settings))
    async with LocalDiskStore(reconciler.folder) as disk:
        await disk.put_bytes(file.key, b"rots")
        scrub = Scrub(reconciler.work, Stores(disk, None, LocalStaging(disk)), alerts, settings)
        for rounds in range(1, 3):
            await eventually(scrub.turn, why=f"round {rounds} begins")
        (told,) = await reconciler.rows("SELECT subject FROM alerts")
        assert told["subject"] == f"What disk holds of {file.key} has rotted, and there is no good copy"
        await reconciler.rows("UPDATE alerts SET ended_at = clock_timestamp() - interval '91 days' RETURNING 1")
        await Retention(reconciler.work, 90 * 24 * 3600).sweep()
        assert await reconciler.rows("SELECT 1 FROM alerts") == []


async def test_a_lost_file_is_counted_once_until_its_bytes_change(reconciler: Reconciler) -> None:
    media_id, good = new_id(), b"good"
    file = stored_file(str(MediaKey(media_id, 1, "small", "webp")), good)
    async with reconciler.work.begin() as transaction:
        await ReadModels(transaction.connection).know_processed(
            media_id, 1, [file], on_disk=True, in_bucket=False, copy_waits=False
        )
    settings = reconciler.settings(scrub_rest_seconds=0.001)

    def lost() -> float:
        labels = {"place": "disk", "outcome": "lost"}
        return REGISTRY.get_sample_value("mediabus_rotten_files_total", labels) or 0.0

    async with LocalDiskStore(reconciler.folder) as disk:
        scrub = Scrub(
            reconciler.work,
            Stores(disk, None, LocalStaging(disk)),
            Alerts(reconciler.work, channels_of(settings)),
            settings,
        )
        counted, before = [], lost()
        for held in (b"rots", b"rots", b"ROTS", b"ROTS", good, b"ROTS"):
            await disk.put_bytes(file.key, held)
            await eventually(scrub.turn, why="a round begins")
            counted.append(lost() - before)
    assert counted == [1, 1, 2, 2, 2, 3]
    await reconciler.rows("UPDATE media_files SET superseded_at = clock_timestamp() RETURNING 1")
    await Retention(reconciler.work, 90 * 24 * 3600).sweep()
    assert await reconciler.rows("SELECT 1 FROM lost_files") == []


# --- working on runs --------------------------------------------------------------------------------------------------


class Troubled(Comparing):
    """Raises these errors in turn; after them it ends its run, or works on it for ever."""

    def __init__(self, work: UnitOfWork, errors: Sequence[Exception], *, ends: bool = True) -> None:
        self._work = work
        self._errors = list(errors)
        self._ends = ends
        self.worked_on: list[UUID] = []

    async def compare(self, run: Run) -> None:
        self.worked_on.append(run.run_id)
        if self._errors:
            raise self._errors.pop(0)
        if not self._ends:
            await asyncio.Event().wait()
        async with self._work.begin() as transaction:
            await Runs(transaction.connection).move(run.run_id, Stage.COMPLETED)


@asynccontextmanager
async def working(reconciler: Reconciler, work: Comparing | Executing) -> AsyncIterator[None]:
    """One process that works on runs, and tries three times without a pause."""
    runner = Runner(
        reconciler.work,
        cast(Comparing, work),
        cast(Executing, work),
        Alerts(reconciler.work, channels_of(reconciler.settings())),
        reconciler.settings(),
        RetryPolicy(attempts=3, first_delay_seconds=0, jitter=0),
    )
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome


async def started_run(reconciler: Reconciler) -> UUID:
    command = StartReconcileRunV1(
        run_id=new_id(),
        scope=ReconcileScope(kind="products"),
        remove_orphaned=True,
        recreate_missing=False,
        approves=True,
        requested_by=new_id(),
        requested_at=datetime.now(UTC),
    )
    async with reconciler.work.begin() as transaction:
        await Runs(transaction.connection).add(command)
    return command.run_id


async def reached(reconciler: Reconciler, run_id: UUID, stage: Stage) -> Any:
    async def row() -> Any:
        (found,) = await reconciler.rows("SELECT * FROM runs WHERE run_id = $1", run_id)
        return found if found["stage"] == stage.value and found["held_until"] is None else None

    return await eventually(row, within_seconds=60, why=f"the run is {stage.value}")


async def test_a_run_that_always_fails_is_given_up_and_lets_others_begin(reconciler: Reconciler) -> None:
    failing, next_run = await started_run(reconciler), await started_run(reconciler)
    comparing = Troubled(reconciler.work, [RuntimeError("a defect")] * 3)
    async with working(reconciler, comparing):
        failed = await reached(reconciler, failing, Stage.FAILED)
        await reached(reconciler, next_run, Stage.COMPLETED)
    assert comparing.worked_on == [failing] * 3 + [next_run]
    assert failed["error"] == "given up after 3 attempts: unexpected_error: RuntimeError: a defect"
    (told,) = await reconciler.told(ReconcileRunChangedV1)
    assert (told["run_id"], told["status"], told["error"]) == (str(failing), "failed", failed["error"])
    # Somebody asked for it, and people hear of the defect all the same.
    (alert,) = await reconciler.rows("SELECT subject FROM alerts")
    assert alert["subject"] == f"Work on products was given up: {failed['error']}"


async def test_a_run_waits_as_long_as_something_is_away(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.runner.AGAIN_AFTER_SECONDS", 0.0)
    run_id = await started_run(reconciler)
    errors = [StoreUnavailable("s3", "away"), RuntimeError("once")]
    comparing = Troubled(reconciler.work, [*errors * 2, errors[0], errors[0]])
    async with working(reconciler, comparing):
        ended = await reached(reconciler, run_id, Stage.COMPLETED)
    assert len(comparing.worked_on) == 7
    assert ended["attempts"] == 0


async def test_a_run_whose_process_is_stopped_goes_on_elsewhere(reconciler: Reconciler) -> None:
    run_id = await started_run(reconciler)
    endless = Troubled(reconciler.work, [], ends=False)
    async with working(reconciler, endless):
        await eventually(lambda: endless.worked_on, why="one process works on it")
    async with working(reconciler, Troubled(reconciler.work, [])):
        await reached(reconciler, run_id, Stage.COMPLETED)


@pytest.mark.parametrize(("stage", "then"), [("executing", Stage.FAILED), ("undoing", Stage.PARTLY_UNDONE)])
async def test_what_was_carried_out_of_a_plan_that_failed_can_be_undone(
    reconciler: Reconciler, stage: str, then: Stage
) -> None:
    class Failing(Executing):
        def __init__(self) -> None:
            pass

        async def go_on(self, run_id: UUID) -> None:
            raise RuntimeError("a defect")

        go_on_undoing = go_on

    run_id = await kept_run(reconciler, Stage(stage), [removal("gone")], "done")
    async with reconciler.work.begin() as transaction:
        await Runs(transaction.connection).want_work(run_id)
    async with working(reconciler, Failing()):
        ended = await reached(reconciler, run_id, then)
    assert ended["counts"]["done"] == 1
    assert await decide(reconciler, run_id, "undo") == "undo_wanted"
    async with reconciler.work.begin() as transaction:
        assert [item.key for item in await Runs(transaction.connection).next_to_undo(run_id, 10)] == [
            "products/gone.png"
        ]


async def test_what_a_plan_will_never_do_is_not_in_work(reconciler: Reconciler) -> None:
    waiting = {Stage.AWAITING_APPROVAL: True, Stage.EXECUTING: True, Stage.DISCARDED: False, Stage.FAILED: False}
    for stage, is_in_work in waiting.items():
        item = removal(stage.value)
        await kept_run(reconciler, stage, [item], "planned")
        async with reconciler.work.begin() as transaction:
            assert await Runs(transaction.connection).is_in_work(item.key) is is_in_work, stage


# --- the end of runs and of quarantine --------------------------------------------------------------------------------


async def test_quarantine_ends_after_its_time_and_once(reconciler: Reconciler) -> None:
    command = StartReconcileRunV1(
        run_id=new_id(),
        scope=ReconcileScope(kind="products"),
        remove_orphaned=True,
        recreate_missing=False,
        approves=True,
        requested_by=None,
        requested_at=datetime.now(UTC),
    )
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


async def kept_run(reconciler: Reconciler, stage: Stage, items: Sequence[PlanItem], status: str) -> UUID:
    """A run whose items ended with this status."""
    command = StartReconcileRunV1(
        run_id=new_id(),
        scope=ReconcileScope(kind="products"),
        remove_orphaned=True,
        recreate_missing=False,
        approves=True,
        requested_by=None,
        requested_at=datetime.now(UTC),
    )
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


async def test_a_decision_counts_once_and_where_it_fits(reconciler: Reconciler) -> None:
    cases: list[tuple[Stage, Literal["approve", "discard", "undo"], str]] = [
        (Stage.AWAITING_APPROVAL, "approve", "approved"),
        (Stage.AWAITING_APPROVAL, "discard", "discarded"),
        (Stage.COMPLETED, "undo", "undo_wanted"),
        (Stage.PARTLY_UNDONE, "undo", "undo_wanted"),
        (Stage.FAILED, "undo", "undo_wanted"),
        (Stage.UNDONE, "undo", "undone"),
        (Stage.DISCARDED, "approve", "discarded"),
        (Stage.EXECUTING, "discard", "executing"),
        (Stage.AWAITING_APPROVAL, "undo", "awaiting_approval"),
    ]
    for stage, decision, then in cases:
        run_id = await kept_run(reconciler, stage, [removal("a")], "done")
        assert [await decide(reconciler, run_id, decision) for _ in range(2)] == [then, then], (stage, decision)
    without_plan = await kept_run(reconciler, Stage.FAILED, [], "done")
    assert await decide(reconciler, without_plan, "undo") == "failed"


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


async def test_old_runs_are_forgotten_and_those_under_way_never(reconciler: Reconciler) -> None:
    alerts = Alerts(reconciler.work, [])
    for stage in (Stage.COMPLETED, Stage.EXECUTING, Stage.FAILED):
        await ended_run(reconciler, alerts, stage)
    await reconciler.rows("UPDATE runs SET changed_at = changed_at - interval '91 days' RETURNING 1")
    await ended_run(reconciler, alerts)
    await Retention(reconciler.work, 90 * 24 * 3600).sweep()
    rows = await reconciler.rows("SELECT stage FROM runs")
    assert sorted(row["stage"] for row in rows) == ["completed", "executing"]


async def test_a_decision_that_comes_too_late_is_answered_with_how_the_run_stands(reconciler: Reconciler) -> None:
    """Whoever decided shows the outcome that he expected until he is told of a newer one."""
    alerts = Alerts(reconciler.work, [])
    await ended_run(reconciler, alerts)
    (before,) = await reconciler.told(ReconcileRunChangedV1)
    command = DecideOnPlanV1(
        plan_id=before["run_id"],
        scope=ReconcileScope(kind="products"),
        decision="approve",
        decided_by=new_id(),
        decided_at=datetime.now(UTC),
    )
    await Commands(reconciler.work).decide(command, delivery_of(command))
    after = (await reconciler.told(ReconcileRunChangedV1))[-1]
    assert (after["status"], after["version"]) == ("completed", before["version"] + 1)
