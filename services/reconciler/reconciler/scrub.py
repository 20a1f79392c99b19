"""Reads stored bytes again, slowly, and finds those that are not any more what was written."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from reconciler.alerts import Alerts
from reconciler.comparison import FileClass, Recorded
from reconciler.planning import Action, PlanItem
from reconciler.repositories.runs import Runs
from reconciler.repositories.scrubs import Scrubs
from reconciler.runs import Stage
from reconciler.settings import ReconcilerSettings
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import FilePlace, ReconcileScope, RunCounts, StartReconcileRunV1
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.errors import ObjectNotFound
from shared.storage.object_store import ObjectStore
from shared.storage.stores import Stores
from shared.telemetry import metrics

log = logging.getLogger(__name__)

FILES_PER_TURN = 50
TURN_SECONDS = 600.0
LONGEST_REST_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Read:
    """What the bytes in one place are; `was_overwritten`: somebody who may had the store keep others."""

    sha256: str
    is_good: bool
    was_overwritten: bool


class Scrub:
    """Hashes what is recorded with a checksum, place by place, at most so many bytes a second.

    What has rotted is replaced by the copy in the other place, as a plan like any other, so that it is told, audited
    and can be undone; the rotten bytes go into quarantine. Without a good copy people are told. What is missing is no
    affair of the scrub, and neither is an image of a product that somebody overwrote in the bucket: notifications and
    the sweep tell of those.
    """

    def __init__(self, unit_of_work: UnitOfWork, stores: Stores, alerts: Alerts, settings: ReconcilerSettings) -> None:
        self._unit_of_work = unit_of_work
        self._stores = stores
        self._alerts = alerts
        self._settings = settings

    async def run(self) -> None:
        """Scrub for as long as the process lives; returns only by cancellation."""
        rest_seconds = min(self._settings.scrub_rest_seconds, LONGEST_REST_SECONDS)
        while True:
            try:
                did_something = await self.turn()
            except (InfrastructureUnavailable, MessageError) as error:
                log.warning("the scrub waits for what it needs", extra={"detail": str(error)})
                did_something = False
            if not did_something:
                await asyncio.sleep(rest_seconds)

    async def turn(self) -> bool:
        """Read the next files; False when none are due. A turn that broke off is begun again when its time is over."""
        async with self._unit_of_work.begin() as transaction:
            scrubs = Scrubs(transaction.connection)
            cursor = await scrubs.claim(TURN_SECONDS)
            if cursor is None:
                return False
            records = await scrubs.next(cursor, FILES_PER_TURN)
            known_lost = await scrubs.known_lost([record.key for record in records])
        started, read_bytes = time.monotonic(), 0
        for record in records:
            read_bytes += await self._look(record, is_known_lost=record.key in known_lost)
            cursor = record.key
            due = read_bytes / self._settings.scrub_bytes_per_second
            await asyncio.sleep(max(due - (time.monotonic() - started), 0))
            if time.monotonic() - started > TURN_SECONDS / 2:
                break
        async with self._unit_of_work.begin() as transaction:
            is_end = len(records) < FILES_PER_TURN and (not records or cursor == records[-1].key)
            rest_seconds = self._settings.scrub_rest_seconds if is_end else 0.0
            await Scrubs(transaction.connection).end_turn("" if is_end else cursor, rest_seconds)
        return True

    async def _look(self, record: Recorded, *, is_known_lost: bool) -> int:
        """Read a file in every place where it should be; returns how many bytes that were."""
        places = [
            (FilePlace.BUCKET, self._stores.bucket if record.in_bucket else None),
            (FilePlace.DISK, self._stores.disk if record.on_disk else None),
        ]
        found = {place: await _read(store, record) for place, store in places if store is not None}
        rotten = [place for place, read in found.items() if read and not read.is_good and not read.was_overwritten]
        good = [place for place, read in found.items() if read and read.is_good]
        for place in rotten:
            if good:
                await self._heal(record, place, good[0])
        lost = [] if good else rotten
        if lost or is_known_lost:
            await self._know_lost(record, {place.value: read.sha256 for place in lost if (read := found[place])})
        return record.size_bytes * len(found)

    async def _know_lost(self, record: Recorded, held: Mapping[str, str]) -> None:
        """Tell, by place, what is held instead of a file; of the same bytes once, however many rounds find them."""
        async with self._unit_of_work.begin() as transaction:
            news = await Scrubs(transaction.connection).know_lost(record, held)
            for place in held:
                subject = f"What {place} holds of {record.key} has rotted, and there is no good copy"
                # The same every time, so that people are not told at each round.
                alert_id = uuid5(NAMESPACE_URL, f"rot/{place}/{record.key}/{record.sha256}")
                await self._alerts.add(transaction, alert_id, subject, {"key": record.key, "place": place})
        for place in news:
            metrics.rotten_files_total.labels(place, "lost").inc()

    async def _heal(self, record: Recorded, target: FilePlace, source: FilePlace) -> None:
        async with self._unit_of_work.begin() as transaction:
            is_begun = await self._begin_healing(transaction, record, target, source)
        if is_begun:
            metrics.rotten_files_total.labels(target.value, "healed").inc()

    async def _begin_healing(
        self, transaction: Transaction, record: Recorded, target: FilePlace, source: FilePlace
    ) -> bool:
        """Put the copy into a plan; False where a plan is at the file already."""
        is_product = record.image_type is not None
        scope = ReconcileScope(
            kind="product" if is_product else "media", product_id=record.owner_id if is_product else None
        )
        command = StartReconcileRunV1(
            run_id=new_id(),
            scope=scope,
            remove_orphaned=False,
            recreate_missing=True,
            approves=True,
            requested_by=None,
            requested_at=datetime.now(UTC),
        )
        item = PlanItem(
            Action.COPY,
            FileClass.CONTENT_DIFFERS,
            record.key,
            target,
            record.size_bytes,
            owner_id=record.owner_id,
            source=source,
            replaces=True,
            sha256=record.sha256,
            image_id=record.record_id,
        )
        runs = Runs(transaction.connection)
        if await runs.is_in_work(record.key):
            return False
        await runs.add(command)
        await runs.add_items(command.run_id, 0, [item])
        approved = await runs.move(
            command.run_id, Stage.APPROVED, counts=RunCounts(differing=1, repairs=1), wants_work=True
        )
        transaction.publish(approved.told())
        await runs.wake()
        return True


async def _read(store: ObjectStore, record: Recorded) -> Read | None:
    """Hash what lies there; None where there is nothing."""
    sha256, md5, size_bytes = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        async with store.open(record.key) as opened:
            async for chunk in opened.chunks:
                sha256.update(chunk)
                md5.update(chunk)
                size_bytes += len(chunk)
    except ObjectNotFound:
        return None
    # A bucket's tag is the MD5 of what it was given in one piece; of media it is given nothing by others.
    is_as_given = store.name != "disk" and opened.info.etag == md5.hexdigest()
    was_overwritten = is_as_given and record.image_type is not None
    held = sha256.hexdigest()
    return Read(held, (size_bytes, held) == (record.size_bytes, record.sha256), was_overwritten)
