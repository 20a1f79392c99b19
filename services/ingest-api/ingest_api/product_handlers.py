"""Kafka in, of products: what became of their files, and repairs of their records."""

from __future__ import annotations

from ingest_api.product_changes import ProductChanges
from ingest_api.product_repairs import ProductRepairs
from shared.events import FileTaskEndedV1, RepairRecordsV1
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery
from shared.messaging.retry import S3_RETRIES

REPAIR_SECONDS = 300.0
"""For reading the files of a thousand records over the slowest line to the bucket."""


def register(consumer: Consumer, changes: ProductChanges, repairs: ProductRepairs) -> None:
    """Every handler is harmless on redelivery: the inbox stops it, or what it says is no news."""

    @consumer.on(FileTaskEndedV1)
    async def bring_change_on(event: FileTaskEndedV1, delivery: Delivery) -> None:
        """The records and the next command of the change that waits for the task are one transaction."""
        await changes.task_ended(event, delivery)

    @consumer.on(RepairRecordsV1, retry=S3_RETRIES, deadline_seconds=REPAIR_SECONDS)
    async def repair_records(command: RepairRecordsV1, delivery: Delivery) -> None:
        """Records, facts and the answer are one transaction; what no longer fits is refused."""
        await repairs.repair(command, delivery)
