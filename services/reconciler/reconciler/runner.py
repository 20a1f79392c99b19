"""Works on runs: claims one at a time per set of files, compares, and hands plans to those who carry them out."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from uuid import UUID

from reconciler.comparing import Comparing
from reconciler.executing import Executing
from reconciler.repositories.runs import CHANNEL, Runs
from reconciler.runs import Run, Stage
from reconciler.settings import ReconcilerSettings
from shared.db.listening import Listener
from shared.db.unit_of_work import UnitOfWork
from shared.messaging.errors import InfrastructureUnavailable

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 2.0
"""How often runs are looked for though nothing was heard, in case a notification was lost or a process died."""
AGAIN_AFTER_SECONDS = 2.0


class Runner:
    """One per process; runs are shared among replicas by claims in the database, which a dead process loses."""

    def __init__(
        self, unit_of_work: UnitOfWork, comparing: Comparing, executing: Executing, settings: ReconcilerSettings
    ) -> None:
        self._unit_of_work = unit_of_work
        self._comparing = comparing
        self._executing = executing
        self._settings = settings
        self._news = asyncio.Event()
        database = unit_of_work.database
        self._listener = Listener(
            database.dsn,
            CHANNEL,
            application_name=f"{database.application_name}-runs",
            hear=lambda _: self._news.set(),
            caught_up=self._news.set,
        )
        self._places = asyncio.Semaphore(settings.runs_at_once)

    async def listen(self) -> None:
        """Hear of new runs and outcomes; never ends."""
        await self._listener.run()

    async def run(self) -> None:
        """Work on whatever wants work; ends only by cancellation, which hands everything back."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                while True:
                    await self._places.acquire()
                    run = await self._claimed()
                    if run is None:
                        self._places.release()
                        break
                    group.create_task(self._work_and_release(run))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_SECONDS):
                        await self._news.wait()

    async def _claimed(self) -> Run | None:
        try:
            async with self._unit_of_work.begin() as transaction:
                return await Runs(transaction.connection).claim(self._settings.run_hold_seconds)
        except BaseException:
            self._places.release()
            raise

    async def _work_and_release(self, run: Run) -> None:
        again_after_seconds: float | None = None
        try:
            async with asyncio.TaskGroup() as group:
                holding = group.create_task(self._keep_holding(run.run_id))
                await self._work(run)
                holding.cancel()
        except* Exception:
            # Whatever is away now is asked for again; the plan and its outcomes are in the database.
            log.exception("a run could not be worked on, trying again", extra={"run_id": str(run.run_id)})
            again_after_seconds = AGAIN_AFTER_SECONDS
        finally:
            self._places.release()
            await self._release(run.run_id, again_after_seconds)
            self._news.set()

    async def _release(self, run_id: UUID, again_after_seconds: float | None) -> None:
        try:
            async with self._unit_of_work.begin() as transaction:
                await Runs(transaction.connection).release(run_id, again_after_seconds)
        except InfrastructureUnavailable as error:
            # Then the claim runs out by itself.
            log.warning("a run could not be let go", extra={"run_id": str(run_id), "detail": str(error)})

    async def _keep_holding(self, run_id: UUID) -> None:
        while True:
            await asyncio.sleep(self._settings.run_hold_seconds / 3)
            async with self._unit_of_work.begin() as transaction:
                await Runs(transaction.connection).hold(run_id, self._settings.run_hold_seconds)

    async def _work(self, run: Run) -> None:
        if run.stage is Stage.COMPARING:
            await self._comparing.compare(run)
        elif run.stage is Stage.EXECUTING:
            await self._executing.go_on(run.run_id)
        elif run.stage is Stage.UNDOING:
            await self._executing.go_on_undoing(run.run_id)
