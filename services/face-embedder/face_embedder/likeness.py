"""Which faces of an event are one person's, by how alike they are; pure.

What is compared are *parts*: faces that were put together before. How alike a face and a part are is the mean of its
similarities to all clear faces of the part, and of two parts the mean over all their pairs. So no single pair joins
anybody, and people don't grow together along a chain of faces each of which is like the next.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CLEAR_SIZE_PX: Final = 40.0
CLEAR_SHARPNESS: Final = 50.0
CLEAR_YAW_DEGREES: Final = 60.0
MOST_LINKS: Final = 500
"""Pairs of people that are weighed at once; the strongest."""


@dataclass(frozen=True, slots=True)
class Bars:
    """How alike faces have to be: `one` to count as one person's, `beside` where that person is on the same photo too.

    Somebody is hardly ever on a photo twice, brothers and sisters often side by side; pictures of mirrors and of
    several shots are above the second bar too.
    """

    one: float
    beside: float


BARS: Final[Mapping[str, Bars]] = MappingProxyType({"lite": Bars(0.5, 0.65), "buffalo_l": Bars(0.5, 0.65)})
"""By pack."""
OTHER_PACKS: Final = Bars(0.55, 0.7)


def bars_of(pack: str) -> Bars:
    return BARS.get(pack, OTHER_PACKS)


def is_clear(size_px: float, sharpness: float, yaw: float) -> bool:
    """Whether a face is seen well enough to tell by it who somebody is.

    What is small, blurred or turned away looks a little like many people: it may join somebody, but it neither makes
    a new person nor says what one looks like.
    """
    return size_px >= CLEAR_SIZE_PX and sharpness >= CLEAR_SHARPNESS and abs(yaw) <= CLEAR_YAW_DEGREES


@dataclass(frozen=True, slots=True)
class WaitingFace:
    """A face that is nobody's yet; `embedding` has length 1."""

    face_id: UUID
    photo_id: UUID
    is_clear: bool
    embedding: Floats


@dataclass(frozen=True, slots=True)
class Part:
    """Faces of a person that were put together by likeness: the mean of its clear ones, and how many they are."""

    person_id: UUID
    part: UUID
    mean: Floats
    clear_faces: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Whose a face is found to be, and by which part; neither where it is nobody's for now."""

    face_id: UUID
    person_id: UUID | None
    part: UUID | None


@dataclass(frozen=True, slots=True)
class Union:
    """Two people who are one: all faces of `gone` are from now on in this part of `kept`."""

    kept: UUID
    part: UUID
    gone: UUID


@dataclass(frozen=True, slots=True)
class _Likeness:
    """How alike each face is to each part, those to come too, and to each other face."""

    to_parts: Floats
    to_faces: Floats

    def grow(self, index: int, row: int, count: float) -> None:
        """A part has `count` faces now, with that of `row`."""
        ours = self.to_parts[:, index]
        ours += (self.to_faces[row] - ours) / count


class Grouping:
    """The people of one event while faces are added to them."""

    def __init__(self, bars: Bars, parts: Sequence[Part], decided: Collection[UUID]) -> None:
        """`decided` are people whom somebody named or put together: no two of them become one by likeness."""
        self._bars = bars
        self._decided = set(decided)
        self._people = [part.person_id for part in parts]
        self._parts = [part.part for part in parts]
        self._counts = np.array([part.clear_faces for part in parts], dtype=np.float32)
        self._means = np.array([part.mean for part in parts], dtype=np.float32)
        self._grown: set[int] = set()
        self.founded: list[UUID] = []

    def place(self, faces: Sequence[WaitingFace], there: Mapping[UUID, Collection[UUID]], fresh: Any) -> list[Placed]:
        """Put each face to whom it is most like; a clear one that is like nobody is somebody new.

        `there` says who is on each photo already; `fresh` makes ids of new people. Clear faces come first, in the order
        given, so that the others find everybody.
        """
        on_photo = {photo_id: set(people) for photo_id, people in there.items()}
        ordered = sorted(faces, key=lambda face: not face.is_clear)
        self._make_room(ordered)
        likeness = self._likeness(ordered)
        placed = []
        for row, face in enumerate(ordered):
            beside = on_photo.setdefault(face.photo_id, set())
            index = self._most_like(likeness.to_parts[row, : len(self._people)], beside)
            if index is None and face.is_clear:
                index = self._found(fresh())
            if index is None:
                placed.append(Placed(face.face_id, None, None))
                continue
            if face.is_clear:
                self._add(index, face.embedding)
                likeness.grow(index, row, self._counts[index])
            beside.add(self._people[index])
            placed.append(Placed(face.face_id, self._people[index], self._parts[index]))
        return placed

    def _make_room(self, faces: Sequence[WaitingFace]) -> None:
        """For a person from every face: growing one by one would copy everybody each time."""
        room = np.zeros((len(faces), len(faces[0].embedding)), dtype=np.float32) if faces else self._means[:0]
        self._means = np.vstack([self._means, room]) if self._people else room
        self._counts = np.append(self._counts, np.zeros(len(faces), dtype=np.float32))

    def _likeness(self, faces: Sequence[WaitingFace]) -> _Likeness:
        """All products at once: those of face by face are many small ones, which wait for each core that is busy."""
        looks = np.array([face.embedding for face in faces], dtype=np.float32).reshape(len(faces), -1)
        return _Likeness(looks @ self._means.T if faces else looks, looks @ looks.T)

    def _most_like(self, similarities: Floats, beside: Collection[UUID]) -> int | None:
        """The part that a face joins; None where it is like none."""
        alike = np.flatnonzero(similarities >= self._bars.one)
        for index in alike[np.argsort(-similarities[alike], kind="stable")]:
            if similarities[index] >= self._bars.beside or self._people[index] not in beside:
                return int(index)
        return None

    def _add(self, index: int, embedding: Floats) -> None:
        count = self._counts[index]
        self._means[index] = (self._means[index] * count + embedding) / (count + 1)
        self._counts[index] = count + 1
        self._grown.add(index)

    def _found(self, person_id: UUID) -> int:
        """Somebody new, without a face yet."""
        self._people.append(person_id)
        self._parts.append(person_id)
        self.founded.append(person_id)
        return len(self._people) - 1

    def links(self) -> set[UUID]:
        """People who may be one with another, because faces were added to one of them; the strongest pairs."""
        return {person for pair in self._pairs(None) for person in (self._people[pair[1]], self._people[pair[2]])}

    def unite(self, photos: Mapping[UUID, Collection[UUID]]) -> list[Union]:
        """Put together who is one person, the most alike first; who was decided about stays, else who is older.

        `photos` are those that each of `links()` is on; nobody else is put together with anybody.
        """
        on = {person_id: set(photo_ids) for person_id, photo_ids in photos.items()}
        unions: list[Union] = []
        while pair := next((pair for pair in self._pairs(on) if self._may_be_one(pair, on)), None):
            union = self._union(pair[1], pair[2])
            unions.append(union)
            on[union.kept] |= on.pop(union.gone)
        return unions

    def _pairs(self, known: Collection[UUID] | None) -> list[tuple[float, int, int]]:
        """Parts of two people that are alike, the most alike first, one of them grown."""
        grown = sorted(self._grown)
        if not grown:
            return []
        alike = self._means[grown] @ self._means[: len(self._people)].T
        found = []
        for row, column in np.argwhere(alike >= self._bars.one):
            one, other = grown[row], int(column)
            people = self._people[one], self._people[other]
            is_twice = other in self._grown and other < one
            if people[0] == people[1] or is_twice or self._decided.issuperset(people):
                continue
            if known is None or (people[0] in known and people[1] in known):
                found.append((float(alike[row, column]), one, other))
        found.sort(key=lambda pair: (-pair[0], self._parts[pair[1]], self._parts[pair[2]]))
        return found[:MOST_LINKS]

    def _may_be_one(self, pair: tuple[float, int, int], on: Mapping[UUID, set[UUID]]) -> bool:
        likeness, one, other = pair
        return likeness >= self._bars.beside or on[self._people[one]].isdisjoint(on[self._people[other]])

    def _union(self, one: int, other: int) -> Union:
        keeps = min((one, other), key=lambda index: (self._people[index] not in self._decided, self._people[index]))
        goes = other if keeps == one else one
        union = Union(self._people[keeps], self._parts[keeps], self._people[goes])
        total = self._counts[keeps] + self._counts[goes]
        self._means[keeps] = (self._means[keeps] * self._counts[keeps] + self._means[goes] * self._counts[goes]) / total
        self._counts[keeps] = total
        self._grown.add(keeps)
        self._drop(goes)
        return union

    def _drop(self, index: int) -> None:
        del self._people[index], self._parts[index]
        self._means = np.delete(self._means, index, axis=0)
        self._counts = np.delete(self._counts, index)
        self._grown = {one - (one > index) for one in self._grown if one != index}
