"""Kafka in, of products: what became of their files, and repairs of their records."""

from __future__ import annotations

from ingest_api.product_changes import ProductChanges
from shared.events import FileTaskEndedV1
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery


def register(consumer: Consumer, changes: ProductChanges) -> None:
    """Every handler is harmless on redelivery: the inbox stops it, or what it says is no news."""

    @consumer.on(FileTaskEndedV1)
    async def bring_change_on(event: FileTaskEndedV1, delivery: Delivery) -> None:
        """The records and the next command of the change that waits for the task are one transaction."""
        await changes.task_ended(event, delivery)
