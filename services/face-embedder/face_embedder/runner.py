"""Goes on with syncs: claims one at a time, and lists until its end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from face_embedder.listing import CannotBeSynced, Listing, Superseded
from face_embedder.repositories.tasks import CHANNEL, Tasks
from face_embedder.settings import FaceEmbedderSettings
from face_embedder.tasks import Task
from shared.db.batches import remove_in_batches
from shared.db.listening import Listener
from shared.db.unit_of_work import UnitOfWork
from shared.messaging.errors import InfrastructureUnavailable, MessageError

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 2.0
"""How often tasks are looked for though nothing was heard, in case a notification was lost or a process died."""
RETRIES: Final = 3
FORGOTTEN_AT_ONCE: Final = 100


class Runner:
    """One per process; tasks are shared among replicas by leases in the database, which a dead process loses."""

    def __init__(self, unit_of_work: UnitOfWork, listing: Listing, settings: FaceEmbedderSettings) -> None:
        self._unit_of_work = unit_of_work
        self._listing = listing
        self._settings = settings
        self._news = asyncio.Event()
        self._places = asyncio.Semaphore(settings.listings_at_once)
        database = unit_of_work.database
        self._listener = Listener(
            database.session_dsn,
            CHANNEL,
            application_name=f"{database.application_name}-tasks",
            hear=lambda _: self._news.set(),
            caught_up=self._news.set,
        )

    async def listen(self) -> None:
        """Hear of new tasks; never ends."""
        await self._listener.run()

    async def run(self) -> None:
        """List whatever is due; ends only by cancellation, which leaves the rest to whoever takes it next."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                await self._begin_due(group)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_SECONDS):
                        await self._news.wait()

    async def turn(self) -> None:
        """List what is due now, to its end."""
        async with asyncio.TaskGroup() as group:
            await self._begin_due(group)

    async def _begin_due(self, group: asyncio.TaskGroup) -> None:
        while (task := await self._claimed()) is not None:
            working = group.create_task(self._work(task))
            # Here and not in the task, which may be cancelled before it ever runs.
            working.add_done_callback(lambda _: self._places.release())

    async def forget_ended(self) -> dict[str, int]:
        """Remove syncs that ended long enough ago, in batches; how many."""
        removed = await remove_in_batches(
            self._unit_of_work.database,
            FORGOTTEN_AT_ONCE,
            lambda connection: Tasks(connection).prune(self._settings.tasks_kept_seconds, FORGOTTEN_AT_ONCE),
        )
        return {"face_syncs": removed}

    async def _claimed(self) -> Task | None:
        """A task and a place to work on it, or neither."""
        await self._places.acquire()
        try:
            async with self._unit_of_work.begin() as transaction:
                task = await Tasks(transaction.connection).claim(self._settings.task_hold_seconds)
        except BaseException:
            # The commit may fail, too, when the task is claimed.
            self._places.release()
            raise
        if task is None:
            self._places.release()
        return task

    async def _work(self, task: Task) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                holding = group.create_task(self._keep_holding(task))
                await self._list(task)
                holding.cancel()
        except* Exception:
            # PostgreSQL is away, or something unforeseen: the lease runs out, and the task is taken again.
            log.exception("a sync could not go on, it is tried again", extra={"task_id": str(task.task_id)})
        finally:
            self._news.set()

    async def _keep_holding(self, task: Task) -> None:
        while True:
            await asyncio.sleep(self._settings.task_hold_seconds / 3)
            async with self._unit_of_work.begin() as transaction:
                await Tasks(transaction.connection).put_off(task.task_id, self._settings.task_hold_seconds)

    async def _list(self, task: Task) -> None:
        try:
            await self._listing.go_on(task)
        except Superseded:
            log.info("another process has gone on with a sync", extra={"task_id": str(task.task_id)})
        except CannotBeSynced as error:
            await self._fail(task, str(error))
        except (InfrastructureUnavailable, MessageError) as error:
            await self._note_failure(task, error)

    async def _note_failure(self, task: Task, error: InfrastructureUnavailable | MessageError) -> None:
        log.warning("a listing broke off", extra={"task_id": str(task.task_id), "detail": str(error)})
        async with self._unit_of_work.begin() as transaction:
            failed = await Tasks(transaction.connection).note_failure(
                task.task_id, self._settings.listing_retry_seconds
            )
        if failed is not None and failed.listing_failures > RETRIES:
            await self._fail(task, f"The bucket could not be listed: {error}")

    async def _fail(self, task: Task, message: str) -> None:
        async with self._unit_of_work.begin() as transaction:
            failed = await Tasks(transaction.connection).fail(task.task_id, message)
            if failed is not None:
                transaction.publish(failed.told())
