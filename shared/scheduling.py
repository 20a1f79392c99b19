"""The part of a service in what the clock fires: which work it does at which due time, and its answer.

    service.scheduled.on("jobs.retention", retention.sweep)

The work is what has to be done by now, not what one due time brought: a service that was away does it at the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from shared.db.unit_of_work import UnitOfWork
from shared.events import ScheduleDueV1, ScheduledWorkDoneV1
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, in_one_piece

log = logging.getLogger(__name__)

RECONCILE_NIGHTLY: Final = "reconcile.nightly"
MEDIA_PURGE: Final = "media.purge"
STAGING_CLEANUP: Final = "staging.cleanup"
JOBS_RETENTION: Final = "jobs.retention"
MESSAGES_PRUNING: Final = "messages.pruning"
QUARANTINE_EXPIRY: Final = "quarantine.expiry"
CONSENTS_EXPIRY: Final = "consents.expiry"
MULTIPART_CLEANUP: Final = "multipart.cleanup"

LONGEST_WORK_SECONDS: Final = 300.0
"""What takes longer is stopped and answered as failed; what it removed until then is gone all the same."""

ANSWER_SECONDS: Final = 30.0
"""So much longer may it take to answer."""

Work = Callable[[], Awaitable[Mapping[str, int]]]
"""Does what is due and counts it. Doing it twice, or twice at once, must be harmless."""

Begin = Callable[[ScheduleDueV1, Delivery], Awaitable[None]]
"""Begins work that ends later, and claims the delivery; whoever ends it publishes `work_done`."""


class ScheduledWork:
    """What one service does when it is due. Every due time reaches one of its replicas."""

    def __init__(self, service: str, unit_of_work: UnitOfWork) -> None:
        self._service = service
        self._unit_of_work = unit_of_work
        self._works: dict[str, tuple[Work, ...]] = {}
        self._beginnings: dict[str, Begin] = {}

    def on(self, name: str, *works: Work) -> None:
        """Do this at the due times of a schedule, one after the other; may be called again for more.

        What fails is answered as failed and not tried again: the next due time does it.
        """
        before = self._works.get(name, ())
        self._works[name] = (*before, *works)

    def begin(self, name: str, begin: Begin) -> None:
        """Begin this at the due times of a schedule; a failure is retried like any message's."""
        self._beginnings[name] = begin

    def register(self, consumer: Consumer) -> None:
        """Consume due times."""

        @consumer.on(ScheduleDueV1, deadline_seconds=LONGEST_WORK_SECONDS + ANSWER_SECONDS)
        async def do_what_is_due(event: ScheduleDueV1, delivery: Delivery) -> None:
            await self.take(event, delivery)

    async def take(self, event: ScheduleDueV1, delivery: Delivery) -> None:
        """Do the work of a due time, and answer in the transaction that claims it."""
        if (begin := self._beginnings.get(event.name)) is not None:
            await begin(event, delivery)
        elif event.name in self._works and not await self._unit_of_work.is_handled(delivery):
            counts, error = await self._done(event)
            async with self._unit_of_work.begin(delivery) as transaction:
                if event.run_id is not None:
                    transaction.publish(work_done(event, self._service, counts, error))

    async def _done(self, event: ScheduleDueV1) -> tuple[dict[str, int], str | None]:
        """All of the work, also when a part of it failed; what PostgreSQL's absence stopped comes again whole."""
        counts: dict[str, int] = {}
        errors: list[str] = []
        ends_at = asyncio.get_running_loop().time() + LONGEST_WORK_SECONDS
        for work in self._works[event.name]:
            deadline = asyncio.timeout_at(ends_at)
            try:
                async with deadline:
                    add_counts(counts, await work())
            except InfrastructureUnavailable as error:
                if error.dependency == "postgresql":
                    raise
                errors.append(in_one_piece(error))
            except Exception as error:
                log.exception("scheduled work failed", extra={"schedule": event.name})
                is_late = deadline.expired()
                late = f"work_deadline: stopped after {LONGEST_WORK_SECONDS:g} s"
                errors.append(late if is_late else in_one_piece(error))
        return counts, "; ".join(errors) or None


def add_counts(total: dict[str, int], further: Mapping[str, int]) -> None:
    for name, count in further.items():
        total[name] = total.get(name, 0) + count


def work_done(
    event: ScheduleDueV1, service: str, counts: Mapping[str, int], error: str | None = None
) -> ScheduledWorkDoneV1:
    """The answer of a service to a due time that names its run."""
    assert event.run_id is not None
    return ScheduledWorkDoneV1(
        run_id=event.run_id,
        name=event.name,
        service=service,
        counts=dict(counts),
        error=error,
        ended_at=datetime.now(UTC),
    )
