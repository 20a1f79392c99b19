"""Faces that somebody wants to have erased."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from face_embedder.erased import Box, is_same_place
from face_embedder.repositories.erasures import Erasures, KeptFace
from face_embedder.repositories.events import Events
from face_embedder.repositories.people import People
from shared.db.unit_of_work import UnitOfWork
from shared.events import ErasedPhoto, EraseFacesV1, FacesErasedV1
from shared.messaging.delivery import Delivery


class Erasing:
    """Removes faces, remembers where they were, and tells of it, all in one transaction with the inbox."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def erase(self, command: EraseFacesV1, delivery: Delivery) -> None:
        """Whoever looks at one of the photos meanwhile ends before it, or knows of it: none brings a face back."""
        async with self._unit_of_work.begin(delivery) as transaction:
            # Before the photos, as everybody does who locks several.
            await Events(transaction.connection).lock(command.event_id)
            people = People(transaction.connection)
            await people.lock(command.event_id)
            erasures = Erasures(transaction.connection)
            photo_ids = await erasures.lock_photos(command.event_id, [face.photo_id for face in command.faces])
            ours = [face for face in command.faces if face.photo_id in set(photo_ids)]
            await erasures.note(command.erasure_id, ours)
            places: defaultdict[UUID, list[Box]] = defaultdict(list)
            for face in ours:
                places[face.photo_id].append(face.box)
            gone = [
                face
                for face in await erasures.faces(photo_ids)
                if any(is_same_place(face.box, box) for box in places[face.photo_id])
            ]
            counts = _faces_of_photos(gone)
            whose = await people.of_faces([face.face_id for face in gone])
            changed = await erasures.remove([face.face_id for face in gone], list(counts))
            transaction.publish(*(photo.told() for photo in changed))
            # Whoever has no face left goes at once. Faces of theirs that were not found stay, but not under their name.
            await people.forget_names(command.event_id, whose)
            transaction.publish(*await people.settle(command.event_id, whose))
            transaction.publish(*await people.told_of_photos(command.event_id, list(counts)))
            transaction.publish(
                FacesErasedV1(
                    erasure_id=command.erasure_id,
                    event_id=command.event_id,
                    photos=tuple(ErasedPhoto(photo_id=photo_id, faces=counts[photo_id]) for photo_id in photo_ids),
                    erased_at=datetime.now(UTC),
                )
            )


def _faces_of_photos(faces: Iterable[KeptFace]) -> Counter[UUID]:
    """How many faces of each photo these are: what several packs found is counted once."""
    of_packs = Counter((face.photo_id, face.pack) for face in faces)
    counts: Counter[UUID] = Counter()
    for (photo_id, _), found in of_packs.items():
        counts[photo_id] = max(counts[photo_id], found)
    return counts
