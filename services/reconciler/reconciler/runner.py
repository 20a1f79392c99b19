"""Works on runs: claims one at a time per set of files, compares, and hands plans to those who carry them out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

from reconciler.alerts import Alerts
from reconciler.comparing import Comparing
from reconciler.executing import Executing
from reconciler.repositories.runs import CHANNEL, Runs
from reconciler.runs import Run, Stage, given_up
from reconciler.settings import ReconcilerSettings
from reconciler.watch import count
from shared.db.listening import Listener
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.messaging.errors import InfrastructureUnavailable, decisive
from shared.messaging.retry import Failure, RetryPolicy

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 2.0
"""How often runs are looked for though nothing was heard, in case a notification was lost or a process died."""
AGAIN_AFTER_SECONDS = 2.0
"""While something is away that a run needs; that counts as no attempt."""

RETRIES = RetryPolicy(attempts=8, first_delay_seconds=2.0, longest_delay_seconds=60.0, jitter=0)
"""After anything unexpected. A run that fails holds up others that touch its files, so it does not fail for ever."""


class Runner:
    """One per process; runs are shared among replicas by claims in the database, which a dead process loses."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        comparing: Comparing,
        executing: Executing,
        alerts: Alerts,
        settings: ReconcilerSettings,
        retries: RetryPolicy = RETRIES,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._comparing = comparing
        self._executing = executing
        self._alerts = alerts
        self._settings = settings
        self._retries = retries
        self._news = asyncio.Event()
        database = unit_of_work.database
        self._listener = Listener(
            database.session_dsn,
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
        # Whoever is stopped in the middle leaves the rest to another process, at once.
        let_go: Callable[[Run], Awaitable[None]] = self._give_back
        try:
            async with asyncio.TaskGroup() as group:
                holding = group.create_task(self._keep_holding(run.run_id))
                await self._work(run)
                holding.cancel()
            let_go = self._release
        except* Exception as problems:
            log.exception("a run could not be worked on", extra={"run_id": str(run.run_id)})
            let_go = partial(self._try_again, decisive(problems))
        finally:
            self._places.release()
            try:
                await let_go(run)
            except InfrastructureUnavailable as error:
                # Then the claim runs out by itself.
                log.warning("a run could not be let go", extra={"run_id": str(run.run_id), "detail": str(error)})
            self._news.set()

    async def _release(self, run: Run) -> None:
        async with self._unit_of_work.begin() as transaction:
            await Runs(transaction.connection).release(run.run_id)

    async def _give_back(self, run: Run) -> None:
        async with self._unit_of_work.begin() as transaction:
            await Runs(transaction.connection).try_again(run.run_id, 0)

    async def _try_again(self, error: Exception, run: Run) -> None:
        """Have it worked on again after a while: the plan and its outcomes are in the database. Or give it up."""
        async with self._unit_of_work.begin() as transaction:
            runs = Runs(transaction.connection)
            if isinstance(error, InfrastructureUnavailable):
                await runs.try_again(run.run_id, AGAIN_AFTER_SECONDS)
                return
            attempts = await runs.count_attempt(run.run_id)
            if attempts < self._retries.attempts:
                await runs.try_again(run.run_id, self._retries.delay_seconds(attempts, 0))
                return
            ended = await self._give_up(transaction, run.run_id, Failure.of(error, attempts))
            await runs.release(run.run_id)
            # Whoever waited for this run to end may begin.
            await runs.wake()
        count(ended)

    async def _give_up(self, transaction: Transaction, run_id: UUID, failure: Failure) -> Run | None:
        runs = Runs(transaction.connection)
        run = await runs.lock(run_id)
        stage = None if run is None else given_up(run.stage)
        if run is None or stage is None:
            return None
        # What is under way still ends, and can be undone like what was carried out.
        counts = run.counts.model_copy(update=await runs.outcome_counts(run_id))
        error = f"given_up: it was given up after {failure.attempt} attempts: {failure.code}: {failure.detail}"
        ended = await runs.move(run_id, stage, counts=counts, error=error)
        await self._alerts.tell_of_giving_up(transaction, ended)
        return ended

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
