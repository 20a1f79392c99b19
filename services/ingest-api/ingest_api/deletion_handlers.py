"""Kafka in: what becomes of deletions, as those tell who hold something of the media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingest_api.media_deletion import IMAGE_PROCESSOR, RECONCILER, S3_SYNCER, Answer
from ingest_api.media_deletions import MediaDeletions
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import (
    ImageMediaForgottenV1,
    MediaFilesRemovedV1,
    MediaRemovalDelayedV1,
    PurgeMediaV1,
    ReconcileMediaForgottenV1,
)
from shared.messaging.batching import Batching, Joined
from shared.messaging.consumer import Consumer
from shared.messaging.delivery import Delivery

_FILES = ("removed", "removed_files", "removed_bytes", "kept", "kept_files", "kept_bytes", "kept_because", "records")
_TROUBLE = ("place", "code", "detail", "attempts", "next_attempt_at")


_Answer = ImageMediaForgottenV1 | ReconcileMediaForgottenV1 | MediaFilesRemovedV1


def register(consumer: Consumer, deletions: MediaDeletions, unit_of_work: UnitOfWork) -> None:
    """Answers may come twice, late and in any order; those of all services are recorded together."""

    async def record(tx: Transaction, batch: Sequence[Joined[_Answer]]) -> None:
        await deletions.answered(tx, [_answer(joined.event, joined.trace) for joined in batch])

    answers = Batching(unit_of_work, record)

    @consumer.on(ImageMediaForgottenV1, batched=True)
    async def forgotten_by_image_processor(event: ImageMediaForgottenV1, delivery: Delivery) -> None:
        await answers.join(event, delivery)

    @consumer.on(ReconcileMediaForgottenV1, batched=True)
    async def forgotten_by_reconciler(event: ReconcileMediaForgottenV1, delivery: Delivery) -> None:
        await answers.join(event, delivery)

    @consumer.on(MediaFilesRemovedV1, batched=True)
    async def files_removed(event: MediaFilesRemovedV1, delivery: Delivery) -> None:
        await answers.join(event, delivery)

    @consumer.on(MediaRemovalDelayedV1)
    async def removal_delayed(event: MediaRemovalDelayedV1, delivery: Delivery) -> None:
        await deletions.delayed(event.deletion_id, event.model_dump(mode="json", include=set(_TROUBLE)), delivery)

    @consumer.on(PurgeMediaV1)
    async def purge(command: PurgeMediaV1, delivery: Delivery) -> None:
        await deletions.purge(command, delivery)


def _answer(event: _Answer, trace: Mapping[str, str]) -> Answer:
    match event:
        case ImageMediaForgottenV1():
            return Answer(event.deletion_id, IMAGE_PROCESSOR, {"records": event.records}, trace)
        case ReconcileMediaForgottenV1():
            return Answer(event.deletion_id, RECONCILER, {"records": event.records}, trace)
        case MediaFilesRemovedV1():
            facts = event.model_dump(mode="json", include=set(_FILES))
            return Answer(event.deletion_id, S3_SYNCER, facts, trace)
