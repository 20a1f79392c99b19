"""On which photos of an event is the person of a selfie?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from face_embedder.analysis import Analysis, FoundFace
from face_embedder.face_pool import FacePool
from face_embedder.packs import PackId
from face_embedder.repositories.events import Events, KnownEvent
from face_embedder.repositories.faces import Faces, Match, Wanted
from shared.db.unit_of_work import UnitOfWork
from shared.events import AnswerV1, SearchFacesV1
from shared.messaging.errors import PermanentError, Postponed, TransientError
from shared.messaging.publisher import Publisher
from shared.storage.errors import ObjectNotFound
from shared.storage.sealed import SealBroken, SealedSelfies
from shared.worker_pool import Urgency

log = logging.getLogger(__name__)

UNKNOWN_EVENT: Final = "unknown_event"
NOT_SEARCHABLE: Final = "event_not_searchable"
PACK_NOT_AT_HAND: Final = "pack_not_at_hand"
NO_FACE: Final = "no_face_in_selfie"
NO_SUCH_FACE: Final = "no_such_face"
NOT_A_PICTURE: Final = "not_a_picture"
UNREADABLE: Final = "selfie_unreadable"
ATTEMPTS: Final = 3


class Refused(Exception):
    """The question has no answer; the text is the problem's code, and perhaps a sentence behind a colon."""


class Searching:
    """Answers searches. The selfie is only ever in memory, here and in the worker that looks at it."""

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        pool: FacePool,
        selfies: SealedSelfies,
        publisher: Publisher,
        *,
        exact_search_faces: int,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._pool = pool
        self._selfies = selfies
        self._publisher = publisher
        self._exact_search_faces = exact_search_faces

    async def answer(self, question: SearchFacesV1) -> None:
        """Publish what was found, or why nothing could be looked for, unless nobody waits for it any more."""
        seconds_left = (question.answer_by - datetime.now(UTC)).total_seconds()
        try:
            async with asyncio.timeout(max(seconds_left, 0)):
                body = await self._body(question)
        except Refused as refusal:
            await self._selfies.discard(question.question_id)
            self._publisher.tell(AnswerV1(question_id=question.question_id, problem=str(refusal)))
        except TimeoutError:
            await self._selfies.discard(question.question_id)
            log.warning("a search was not answered in time", extra={"question_id": str(question.question_id)})
        else:
            self._publisher.tell(AnswerV1(question_id=question.question_id, body=body))

    async def _body(self, question: SearchFacesV1) -> dict[str, Any]:
        event = await self._require_searchable(question)
        try:
            picture = await self._selfies.unseal(question.question_id, question.selfie)
        except (SealBroken, ObjectNotFound) as error:
            raise Refused(f"{UNREADABLE}: {error.detail}") from error
        while True:
            pack = self._pack_of(event)
            analysis = await self._analysed(picture, pack)
            chosen, face = chosen_face(analysis.faces, question.choose)
            wanted = Wanted(
                event_id=question.event_id,
                pack=pack.name,
                pack_version=pack.version,
                vector=face.vector(),
                threshold=analysis.threshold if question.threshold is None else question.threshold,
                limit=question.limit,
            )
            matches = await self._matches(wanted)
            # Asked afterwards: whatever was removed behind a change to another pack was still there before it.
            event = await self._require_searchable(question)
            if self._pack_of(event) == pack:
                return _body(analysis, chosen, wanted, matches)

    def _pack_of(self, event: KnownEvent) -> PackId:
        """The pack whose faces of the event are searched. Raises Refused where this process can't look with it."""
        pack = event.pack or self._pool.packs.wanted
        if pack not in self._pool.packs:
            raise Refused(f"{PACK_NOT_AT_HAND}: {_not_at_hand(pack)}")
        return pack

    async def _analysed(self, picture: bytes, pack: PackId) -> Analysis:
        """Looked at again here where a worker died: the selfie can't be read a second time."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._pool.look(picture, pack, Urgency.AT_ONCE)
            except PermanentError as error:
                raise Refused(f"{NOT_A_PICTURE}: {error.detail}") from error
            except (TransientError, Postponed) as error:
                log.warning("a selfie could not be looked at", extra={"code": error.code, "attempt": attempt})
        raise Refused(UNREADABLE)

    async def _require_searchable(self, question: SearchFacesV1) -> KnownEvent:
        async with self._unit_of_work.begin() as transaction:
            event = await Events(transaction.connection).get(question.event_id)
        if event is None or event.is_deleted:
            raise Refused(UNKNOWN_EVENT)
        may_search = event.is_searchable or question.for_erasure
        if not may_search or not event.keeps_faces:
            raise Refused(NOT_SEARCHABLE)
        return event

    async def _matches(self, wanted: Wanted) -> list[Match]:
        async with self._unit_of_work.begin() as transaction:
            faces = Faces(transaction.connection)
            if await faces.are_more_than(wanted, self._exact_search_faces):
                return await faces.near(wanted)
            return await faces.exact(wanted)


def chosen_face(faces: Sequence[FoundFace], choose: int | Literal["largest"]) -> tuple[int, FoundFace]:
    """The wanted face by its place among the faces of a selfie, the largest first. Raises Refused."""
    if not faces:
        raise Refused(NO_FACE)
    by_size = sorted(faces, key=lambda face: -face.size_px)
    index = 0 if choose == "largest" else choose
    if not 0 <= index < len(by_size):
        raise Refused(NO_SUCH_FACE)
    return index, by_size[index]


def _not_at_hand(pack: PackId) -> str:
    return (
        f"The faces of this event were found with the models {pack}, which are not in use any more, and are looked for "
        "again with those that are. Try again later. To have searches answered meanwhile, the operator sets "
        "MEDIABUS_FACE_PREVIOUS_PACK of face-embedder to these models"
    )


def _body(analysis: Analysis, chosen: int, wanted: Wanted, matches: Sequence[Match]) -> dict[str, Any]:
    return {
        "faces_in_selfie": len(analysis.faces),
        "chosen": chosen,
        "pack": analysis.pack,
        "threshold": wanted.threshold,
        "matches": [
            {
                "photo_id": str(match.photo_id),
                "s3_key": match.s3_key,
                "similarity": match.similarity,
                "box": list(match.box),
                "confidence": match.score,
            }
            for match in matches
        ],
    }
