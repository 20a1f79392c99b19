"""Syncs that are asked for, and events that are told of."""

from __future__ import annotations

from collections.abc import Callable

from face_embedder.repositories.events import Events
from face_embedder.repositories.tasks import Tasks
from shared.db.unit_of_work import UnitOfWork
from shared.events import PhotoEventChangedV1, SyncEventPhotosV1
from shared.messaging.delivery import Delivery


class Commands:
    """Each in one transaction with the inbox; the work itself is done by others."""

    def __init__(self, unit_of_work: UnitOfWork, forget_soon: Callable[[], None]) -> None:
        self._unit_of_work = unit_of_work
        self._forget_soon = forget_soon

    async def sync(self, command: SyncEventPhotosV1, delivery: Delivery) -> None:
        """Begin a task; its listing goes on by itself, whoever is killed meanwhile."""
        async with self._unit_of_work.begin(delivery) as transaction:
            await Events(transaction.connection).ensure(command.event_id, command.number)
            task = await Tasks(transaction.connection).add(command.task_id, command.event_id, command.s3_prefix)
            if task is not None:
                transaction.publish(task.told())

    async def know_event(self, event: PhotoEventChangedV1, delivery: Delivery) -> None:
        """Take over what was told of an event; faces that may not be kept any more go soon."""
        async with self._unit_of_work.begin(delivery) as transaction:
            await Events(transaction.connection).know(event)
        self._forget_soon()
