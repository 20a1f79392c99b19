"""The nightly run, and who is told of what it found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from deploy.local.ports import free_port
from reconciler.alerts import Alerts, channels_of
from reconciler.nightly import NightlyRun
from reconciler.repositories.read_models import ReadModels
from reconciler.retention import Retention
from reconciler.runs import Stage
from reconciler.scrub import Scrub
from shared.events import (
    ScheduleDueV1,
    ScheduledWorkDoneV1,
)
from shared.identifiers import new_id
from shared.messaging.errors import AlreadyHandled
from shared.storage.keys import MediaKey
from shared.storage.local_disk import LocalDiskStore
from shared.storage.staging import LocalStaging
from shared.storage.stores import Stores
from shared.testing.waiting import eventually
from tests.integration.reconciling.reconciler_world import Reconciler, delivery_of, ended_run, stored_file

pytestmark = pytest.mark.stack


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
