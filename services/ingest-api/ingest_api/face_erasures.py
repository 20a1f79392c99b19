"""Erasures of somebody's faces: proposed by a selfie, confirmed, done by face-embedder, and receipted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ingest_api.accounts import Principal, new_secret, secret_hash
from ingest_api.erasure_receipt import ReceiptSigner, moment
from ingest_api.face_erasure import ErasureStatus, FaceErasure
from ingest_api.face_search import FaceSearch, SearchPage, ShownMatch, consent_refusal
from ingest_api.galleries import OpenGallery
from ingest_api.photo_event import PhotoEvent
from ingest_api.problem_details import Conflict, FieldError, InvalidFields, Problem, retry_after
from ingest_api.repositories.face_erasures import FaceErasureRepository
from ingest_api.repositories.face_searches import Seeker
from ingest_api.repositories.photo_events import PhotoEventRepository
from ingest_api.selfie_form import SearchWish, Selfie
from ingest_api.settings import DAY_SECONDS, IngestSettings
from shared.db.pool import PooledConnection
from shared.db.unit_of_work import UnitOfWork
from shared.events import EraseFacesV1, FacesErasedV1, FaceToErase
from shared.messaging.delivery import Delivery


class FaceErasures:
    """A selfie only proposes: nothing is erased that a person has not looked at and confirmed."""

    def __init__(
        self, unit_of_work: UnitOfWork, search: FaceSearch, signer: ReceiptSigner, settings: IngestSettings
    ) -> None:
        self._unit_of_work = unit_of_work
        self._search = search
        self._kept_seconds = settings.face_search_results_kept_seconds
        self._requests_kept_seconds = settings.erasure_requests_kept_seconds
        self._requests_of_gallery = settings.gallery_erasure_requests
        self.signer = signer

    async def propose(
        self, events: Sequence[PhotoEvent], selfie: Selfie, wish: SearchWish, by: Principal
    ) -> list[SearchPage]:
        """The faces that look like the one on the selfie, event by event; each `search_id` names an erasure.

        Also where nobody may search. Of several events those without such a face are left out. Raises Problem 422 for a
        picture without a face, 503 where nobody answers in time.
        """
        pages: list[SearchPage] = []
        try:
            for event in events:
                # A search overwrites its picture as soon as it is sealed.
                copy = Selfie(bytearray(selfie.picture), selfie.texts)
                page = await self._search.search_for_erasure(event, copy, wish, Seeker(by.user_id))
                if page.matches or len(events) == 1:
                    await self._add(page, by)
                    pages.append(page)
        finally:
            selfie.forget()
        return pages

    async def _add(self, page: SearchPage, by: Principal) -> None:
        async with self._unit_of_work.begin() as transaction:
            await FaceErasureRepository(transaction.connection).add(
                page.result.search_id,
                page.result.event_id,
                by.user_id,
                [_face(match) for match in page.matches],
                self._kept_seconds,
            )

    # --- what guests ask for --------------------------------------------------------------------------------------

    async def admit(self, opened: OpenGallery) -> None:
        """Raises Problem 429 while too many requests by the link wait for a decision."""
        async with self._unit_of_work.database.connection() as connection:
            waiting = await FaceErasureRepository(connection).waiting_of(opened.gallery)
        if waiting >= self._requests_of_gallery:
            detail = "Too many requests by this link wait for a decision: ask who sent you the link."
            raise Problem(429, "too_many_requests", detail, retry_after(DAY_SECONDS))

    async def request(self, opened: OpenGallery, selfie: Selfie, wish: SearchWish) -> tuple[FaceErasure, str]:
        """Keep which faces look like the one on the selfie, for somebody to decide; and the secret to ask after it.

        Whoever has the link and a picture of somebody else could ask in their name, so nothing is erased by it. It is
        kept whether anything was found or not: who asks learns nothing that the link does not let them search for.
        Raises Problem 403 without the consent that the event asks for, and as a search does.
        """
        try:
            if (refused := consent_refusal(opened.event, wish)) is not None:
                raise refused
            page = await self._search.search_for_erasure(opened.event, selfie, wish, opened.seeker)
        finally:
            selfie.forget()
        secret = new_secret()
        async with self._unit_of_work.begin() as transaction:
            erasure = await FaceErasureRepository(transaction.connection).add_request(
                page.result.search_id,
                opened.gallery,
                secret_hash(secret),
                None if opened.event.consent_text is None else wish.consent_version,
                [_face(match) for match in page.matches],
                self._requests_kept_seconds,
            )
        return erasure, secret

    async def of_guest(self, erasure_id: UUID, secret: str) -> FaceErasure:
        """How a guest's request stands. Raises Problem 404."""
        async with self._unit_of_work.database.connection() as connection:
            erasure = await FaceErasureRepository(connection).by_secret(erasure_id, secret_hash(secret))
        if erasure is None:
            raise no_such_erasure()
        return erasure

    async def requested(
        self, event: PhotoEvent, after: UUID | None, limit: int, asker: Principal | None = None
    ) -> list[FaceErasure]:
        """What guests of the event wait for, oldest first; with what `asker` has found in their place."""
        async with self._unit_of_work.database.connection() as connection:
            return await FaceErasureRepository(connection).requested(
                event.id, after, limit, None if asker is None else asker.user_id
            )

    async def refuse(self, erasure_id: UUID, by: Principal) -> FaceErasure:
        """Say no, and forget what was found; again changes nothing. Raises Problem 404, and 409 once confirmed."""
        async with self._unit_of_work.begin() as transaction:
            erasures = FaceErasureRepository(transaction.connection)
            erasure = await _usable(transaction.connection, await erasures.locked(erasure_id), by)
            if erasure.status is ErasureStatus.REFUSED:
                return erasure
            if erasure.status is not ErasureStatus.PROPOSED:
                raise Conflict("erasure_confirmed", "It was confirmed before: the faces are being erased.")
            return await erasures.refuse(erasure.id, by.user_id, self._requests_kept_seconds)

    # --- deciding -------------------------------------------------------------------------------------------------

    async def read(self, erasure_id: UUID, by: Principal) -> FaceErasure:
        """Raises Problem 404, for those of others too; a guest's is for whoever reaches the event."""
        async with self._unit_of_work.database.connection() as connection:
            return await _usable(connection, await FaceErasureRepository(connection).get(erasure_id), by)

    async def confirm(self, erasure_id: UUID, photo_ids: Sequence[UUID], by: Principal) -> FaceErasure:
        """Have the faces that were found on these photos erased; confirming the same again changes nothing.

        Raises Problem 404, 422 for photos that are not among those found, and 409 where others were confirmed before.
        """
        async with self._unit_of_work.begin() as transaction:
            erasures = FaceErasureRepository(transaction.connection)
            erasure = await _usable(transaction.connection, await erasures.locked(erasure_id), by)
            if erasure.status is ErasureStatus.COMPLETED:
                return erasure
            if erasure.status is ErasureStatus.REFUSED:
                raise Conflict("erasure_refused", "It was refused before: the guest has to ask anew.")
            faces = erasure.faces_on(photo_ids)
            if erasure.status is ErasureStatus.CONFIRMED:
                if faces == erasure.faces and len(faces) == len(set(photo_ids)):
                    return erasure
                raise Conflict(
                    "other_photos_confirmed", "Other photos were confirmed before: begin a new erasure for these."
                )
            if len(faces) != len(set(photo_ids)):
                raise InvalidFields(FieldError("photo_ids", "names photos that are not among the matches"))
            confirmed = await erasures.confirm(erasure.id, faces, by.user_id)
            transaction.publish(EraseFacesV1(erasure_id=erasure.id, event_id=erasure.event_id, faces=faces))
        return confirmed

    async def record(self, fact: FacesErasedV1, delivery: Delivery) -> None:
        """Write the receipt, once."""
        async with self._unit_of_work.begin(delivery) as transaction:
            erasures = FaceErasureRepository(transaction.connection)
            erasure = await erasures.locked(fact.erasure_id)
            if erasure is None or erasure.status is not ErasureStatus.CONFIRMED:
                return
            event = await PhotoEventRepository(transaction.connection).get(erasure.event_id)
            assert event is not None, "events keep their row"
            signed = self.signer.sign(receipt_of(erasure, event, fact))
            await erasures.complete(erasure, fact.erased_at, _faces_erased(fact), signed)


def receipt_of(erasure: FaceErasure, event: PhotoEvent, fact: FacesErasedV1) -> dict[str, Any]:
    """What was removed where and when: no name, no picture, nothing that was measured on a face."""
    assert erasure.confirmed_at is not None, "nothing is erased that was not confirmed"
    return {
        "erasure_id": str(erasure.id),
        "event_uuid": str(event.id),
        "event_id": event.number,
        "asked_at": moment(erasure.asked_at),
        "confirmed_at": moment(erasure.confirmed_at),
        "erased_at": moment(fact.erased_at),
        "photos": [{"photo_id": str(photo.photo_id), "faces_erased": photo.faces} for photo in fact.photos],
        "faces_erased": _faces_erased(fact),
    }


def _faces_erased(fact: FacesErasedV1) -> int:
    return sum(photo.faces for photo in fact.photos)


def _face(match: ShownMatch) -> FaceToErase:
    left, top, right, bottom = match.box
    return FaceToErase(photo_id=match.photo_id, box=(left, top, right, bottom))


async def _usable(connection: PooledConnection[Any], erasure: FaceErasure | None, by: Principal) -> FaceErasure:
    """The erasure, for whoever asked for it; a guest's for whoever reaches the event. Raises Problem 404."""
    if erasure is not None and erasure.asked_by == by.user_id:
        return erasure
    if erasure is not None and erasure.gallery_id is not None:
        event = await PhotoEventRepository(connection).get(erasure.event_id)
        if event is not None and not event.is_deleted and event.may_be_used_by(by):
            return erasure
    raise no_such_erasure()


def no_such_erasure() -> Problem:
    return Problem(404, "not_found", "There is no such erasure, or nobody confirmed it in time: ask for it again.")
