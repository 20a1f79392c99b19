"""Erasures of somebody's faces, and the key of their receipts."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.faces import MatchAnswer
from ingest_api.controllers.uploads import client_gone, upload_call
from ingest_api.erasure_receipt import ALGORITHM
from ingest_api.face_erasure import ErasureStatus, FaceErasure
from ingest_api.face_search import SearchPage
from ingest_api.photo_desk import PhotoDesk
from ingest_api.selfie_form import MOST_MATCHES, ErasureOperation, event_uuid_of, search_wish

MOST_EVENTS: Final = 50
"""That are looked through at once: each takes a search."""


class ConfirmBody(msgspec.Struct):
    photo_ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MOST_MATCHES)]


class ProposedErasure(msgspec.Struct):
    """What would be erased in one event: of each photo the face in `box`.

    `chosen` of the `faces_in_selfie` was looked for, counted from 0 by size.
    """

    id: UUID
    status: ErasureStatus
    event_uuid: UUID
    matches: list[MatchAnswer]
    faces_in_selfie: int
    chosen: int


class ProposalAnswer(msgspec.Struct):
    """Each erasure is confirmed by itself."""

    erasures: list[ProposedErasure]


class ErasureAnswer(msgspec.Struct):
    """`receipt` is JSON text; `signature`, base64, is Ed25519's over its bytes by `public_key`. All three come with
    `completed`. What is not decided until `expires_at` is over. `gallery_id`: a guest with that link asked."""

    id: UUID
    status: ErasureStatus
    event_uuid: UUID
    gallery_id: UUID | None
    asked_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None
    refused_at: datetime | None
    completed_at: datetime | None
    faces_erased: int | None
    receipt: str | None
    signature: str | None
    public_key: str | None

    @classmethod
    def of(cls, erasure: FaceErasure) -> Self:
        signed = erasure.signed
        return cls(
            id=erasure.id,
            status=erasure.status,
            event_uuid=erasure.event_id,
            gallery_id=erasure.gallery_id,
            asked_at=erasure.asked_at,
            expires_at=erasure.expires_at,
            confirmed_at=erasure.confirmed_at,
            refused_at=erasure.refused_at,
            completed_at=erasure.completed_at,
            faces_erased=erasure.faces_erased,
            receipt=None if signed is None else signed.text,
            signature=None if signed is None else _base64(signed.signature),
            public_key=None if signed is None else _base64(signed.public_key),
        )


class ReceiptKeyAnswer(msgspec.Struct):
    algorithm: str
    public_key: str


class FaceErasureController(Controller):
    """A selfie proposes, a person confirms, and a signed receipt says what is gone."""

    path = "/api/v1/faces/erasures"
    tags = ("Event photos",)
    guards = (require(Role.PHOTOGRAPHER),)

    @post(
        summary="Propose to erase a person's faces",
        request_max_body_size=None,
        operation_class=ErasureOperation,
    )
    async def propose(self, request: SignedInRequest, photo_desk: NamedDependency[PhotoDesk]) -> ProposalAnswer:
        """multipart/form-data: `file`, optional `event_uuid`, `threshold`, `choose`. Nothing is erased yet.

        Without `event_uuid` in every event that the caller reaches, an erasure for each with such a face. Also where
        the search for faces is switched off. At most 1000 photos of an event at once, and one face of each: ask again
        until none is found.
        """
        with client_gone():
            selfie = await photo_desk.selfies.receive(upload_call(request), {})
        wish, event_uuid = search_wish(selfie.texts), selfie.texts.get("event_uuid")
        if event_uuid:
            events = [await photo_desk.events.read(event_uuid_of(event_uuid), request.user)]
        else:
            events = await photo_desk.events.all_with_faces(request.user, MOST_EVENTS)
        pages = await photo_desk.erasures.propose(events, selfie, wish, request.user)
        return ProposalAnswer([_proposed(page) for page in pages])

    @post("/{erasure_id:uuid}/confirm", summary="Erase the faces", status_code=202)
    async def confirm(
        self,
        request: SignedInRequest,
        erasure_id: FromPath[UUID],
        data: JSONBody[ConfirmBody],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> ErasureAnswer:
        """Those on the named photos, which are among the matches. Confirming the same again changes nothing."""
        return ErasureAnswer.of(await photo_desk.erasures.confirm(erasure_id, data.photo_ids, request.user))

    @post("/{erasure_id:uuid}/refuse", summary="Refuse to erase the faces", status_code=200)
    async def refuse(
        self, request: SignedInRequest, erasure_id: FromPath[UUID], photo_desk: NamedDependency[PhotoDesk]
    ) -> ErasureAnswer:
        """What was found is forgotten. A guest who asked reads of it for a while."""
        return ErasureAnswer.of(await photo_desk.erasures.refuse(erasure_id, request.user))

    @get("/{erasure_id:uuid}", summary="Read an erasure and its receipt")
    async def read(
        self, request: SignedInRequest, erasure_id: FromPath[UUID], photo_desk: NamedDependency[PhotoDesk]
    ) -> ErasureAnswer:
        """For whoever asked for it; what guests ask for, for whoever reaches the event. What nobody confirms is over
        after a while."""
        return ErasureAnswer.of(await photo_desk.erasures.read(erasure_id, request.user))


class ReceiptKeyController(Controller):
    """For whoever was given a receipt."""

    path = "/api/v1/faces/receipt-key"
    tags = ("Event photos",)

    @get(summary="Read the key that receipts are verified with")
    async def read(self, photo_desk: NamedDependency[PhotoDesk]) -> ReceiptKeyAnswer:
        """The public half, base64 of 32 bytes."""
        return ReceiptKeyAnswer(ALGORITHM, _base64(photo_desk.erasures.signer.public_key))


def _proposed(page: SearchPage) -> ProposedErasure:
    found = page.result
    matches = [MatchAnswer.of(match) for match in page.matches]
    return ProposedErasure(
        found.search_id, ErasureStatus.PROPOSED, found.event_id, matches, found.faces_in_selfie, found.chosen
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
