"""Stands where face-embedder answers searches: opens the selfie, and says what a test has told it to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer

from shared.events import AnswerV1, EventPhotoChangedV1, PhotoStatus, SearchFacesV1
from shared.identifiers import new_id
from shared.messaging.topics import FACE_SEARCH
from shared.storage.local_disk import LocalDiskStore
from shared.storage.sealed import SealedSelfies
from tests.bus import Bus

Reply = Callable[[SearchFacesV1, bytes], AnswerV1 | None]


def found(question: SearchFacesV1, *matches: dict[str, Any], **facts: Any) -> AnswerV1:
    body = {"faces_in_selfie": 1, "chosen": 0, "pack": "lite", "threshold": 0.4, "matches": list(matches)} | facts
    return AnswerV1(question_id=question.question_id, body=body)


def match_of(photo: EventPhotoChangedV1, similarity: float) -> dict[str, Any]:
    return {
        "photo_id": str(photo.photo_id),
        "s3_key": photo.s3_key,
        "similarity": similarity,
        "box": [10.0, 20.0, 110.0, 140.5],
        "confidence": 0.97,
    }


def photo_of(event: dict[str, Any], name: str, **changes: Any) -> EventPhotoChangedV1:
    """A photo of an event as face-embedder tells of it."""
    fact = {
        "photo_id": new_id(),
        "event_id": UUID(event["uuid"]),
        "version": 1,
        "s3_key": f"events/{event['id']}/previews/{name}",
        "image_key": f"events/{event['id']}/originals/{name}",
        "status": PhotoStatus.INDEXED,
        "faces": 1,
        "confidence": 0.97,
        "changed_at": "2030-01-01T00:00:00Z",
        **changes,
    }
    return EventPhotoChangedV1.model_validate(fact)


class FaceDouble:
    """`reply` makes the answer to each question; None leaves it unanswered. `pictures` are the opened selfies."""

    def __init__(self, bus: Bus, bootstrap: str, media_root: Path, selfie_key: str) -> None:
        self._bus = bus
        self._bootstrap = bootstrap
        self._media_root = media_root
        self._selfie_key = bytes.fromhex(selfie_key)
        self.reply: Reply = lambda question, _: found(question)
        self.questions: list[SearchFacesV1] = []
        self.pictures: list[bytes] = []
        self.raw: list[bytes] = []

    async def __aenter__(self) -> FaceDouble:
        self._disk = await LocalDiskStore(self._media_root).__aenter__()
        self._consumer = AIOKafkaConsumer(
            FACE_SEARCH.name, bootstrap_servers=self._bootstrap, auto_offset_reset="latest"
        )
        await self._consumer.start()
        await self._consumer.seek_to_end()
        self._serving = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self._consumer.stop()
        await self._disk.__aexit__(None, None, None)

    async def _serve(self) -> None:
        selfies = SealedSelfies(self._disk, self._selfie_key)
        async for record in self._consumer:
            question = SearchFacesV1.model_validate_json(record.value)
            self.raw.append(record.value)
            self.questions.append(question)
            picture = await selfies.unseal(question.question_id, question.selfie)
            self.pictures.append(picture)
            if (answer := self.reply(question, picture)) is not None:
                await self._bus.send(answer)
