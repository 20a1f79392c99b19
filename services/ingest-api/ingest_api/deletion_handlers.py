"""Kafka in: what becomes of deletions, as those tell who hold something of the media."""

from __future__ import annotations

from ingest_api.media_deletion import IMAGE_PROCESSOR, RECONCILER, S3_SYNCER
from ingest_api.media_deletions import MediaDeletions
from shared.events import (
    ImageMediaForgottenV1,
    MediaFilesRemovedV1,
    MediaRemovalDelayedV1,
    PurgeMediaV1,
    ReconcileMediaForgottenV1,
)
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery

_FILES = ("removed", "removed_files", "removed_bytes", "kept", "kept_files", "kept_bytes", "kept_because", "records")
_TROUBLE = ("place", "code", "detail", "attempts", "next_attempt_at")


def register(consumer: Consumer, deletions: MediaDeletions) -> None:
    """Answers may come twice, late and in any order."""

    @consumer.on(ImageMediaForgottenV1)
    async def forgotten_by_image_processor(event: ImageMediaForgottenV1, delivery: Delivery) -> None:
        await deletions.answered(event.deletion_id, IMAGE_PROCESSOR, {"records": event.records}, delivery)

    @consumer.on(ReconcileMediaForgottenV1)
    async def forgotten_by_reconciler(event: ReconcileMediaForgottenV1, delivery: Delivery) -> None:
        await deletions.answered(event.deletion_id, RECONCILER, {"records": event.records}, delivery)

    @consumer.on(MediaFilesRemovedV1)
    async def files_removed(event: MediaFilesRemovedV1, delivery: Delivery) -> None:
        facts = event.model_dump(mode="json", include=set(_FILES))
        await deletions.answered(event.deletion_id, S3_SYNCER, facts, delivery)

    @consumer.on(MediaRemovalDelayedV1)
    async def removal_delayed(event: MediaRemovalDelayedV1, delivery: Delivery) -> None:
        await deletions.delayed(event.deletion_id, event.model_dump(mode="json", include=set(_TROUBLE)), delivery)

    @consumer.on(PurgeMediaV1)
    async def purge(command: PurgeMediaV1, delivery: Delivery) -> None:
        await deletions.purge(command, delivery)
