"""Which faces of a photo are in the same place as those that were known of it before; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from face_embedder.erased import Box, is_same_place, shared_part


@dataclass(frozen=True, slots=True)
class PlacedFace:
    """A face and its box; boxes that are compared are all in pixels of one size of the photo."""

    face_id: UUID
    box: Box


@dataclass(frozen=True, slots=True)
class Carried:
    """The new face is the old one, found again."""

    old: UUID
    new: UUID


def found_again(old: Iterable[PlacedFace], new: Sequence[PlacedFace]) -> list[Carried]:
    """Each old face with the new one in its place, the best fitting pairs first; no face is in two pairs."""
    pairs = sorted(
        (
            (-shared_part(before.box, now.box), before.face_id, now.face_id)
            for before in old
            for now in new
            if is_same_place(before.box, now.box)
        ),
    )
    taken: set[UUID] = set()
    carried: list[Carried] = []
    for _, before_id, now_id in pairs:
        if not {before_id, now_id} & taken:
            taken |= {before_id, now_id}
            carried.append(Carried(before_id, now_id))
    return carried
