"""Whose faces are: not by a chain, not by blurred ones, not two on one photo, and whatever the order."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise
from uuid import UUID

import numpy as np
import pytest

from face_embedder.likeness import BARS, Bars, Floats, Grouping, Part, Union, WaitingFace, bars_of, is_clear
from face_embedder.places import Carried, PlacedFace, found_again
from face_embedder.sorting import after_unions, photos_of
from shared.identifiers import new_id
from tests.face_people import between, look, somebody

BAR = Bars(one=0.5, beside=0.65)


def face(name: str, seed: int, *, photo: UUID | None = None, clear: bool = True, alike: float = 0.8) -> WaitingFace:
    return WaitingFace(new_id(), photo or new_id(), clear, look(name, seed, alike))


def sort(faces: Sequence[WaitingFace], grouping: Grouping | None = None) -> dict[UUID, UUID | None]:
    """Whose each face is found to be, all at once."""
    grouping = grouping or Grouping(BAR, [], ())
    placed = grouping.place(faces, {}, new_id)
    unions = grouping.unite(photos_of(placed, faces, {}, grouping.founded))
    return {one.face_id: one.person_id for one in after_unions(placed, unions)}


def groups(faces: Sequence[WaitingFace], whose: dict[UUID, UUID | None]) -> set[frozenset[int]]:
    """The places in `faces` of each person's."""
    found: defaultdict[UUID, set[int]] = defaultdict(set)
    for index, one in enumerate(faces):
        person_id = whose[one.face_id]
        if person_id is not None:
            found[person_id].add(index)
    return {frozenset(indices) for indices in found.values()}


@pytest.mark.parametrize("seed", range(5))
def test_everybody_is_found_whatever_the_order(seed: int) -> None:
    faces = [face(f"person {number % 7}", number) for number in range(70)]
    shuffled = random.Random(seed).sample(faces, len(faces))
    expected = {frozenset(range(number, 70, 7)) for number in range(7)}
    assert groups(faces, sort(shuffled)) == expected


def test_a_chain_joins_nobody() -> None:
    """Each face is like the next one, the ends are strangers: by single pairs all of them would be one person."""
    stations = [somebody(name) for name in "ABCDE"]
    turned = [_on_the_way(one, other, part / 12) for one, other in pairwise(stations) for part in range(12)]
    faces = [WaitingFace(new_id(), new_id(), True, vector) for vector in turned]
    assert all(float(one.embedding @ other.embedding) > 0.98 for one, other in pairwise(faces))
    whose = sort(faces)
    assert len(set(whose.values())) >= 3
    assert whose[faces[0].face_id] != whose[faces[-1].face_id]
    # And one that is like both of two people makes no bridge between them.
    people = [face(name, number, alike=0.9) for name in "AB" for number in range(5)]
    bridge = WaitingFace(new_id(), new_id(), True, between("A", "B", 1))
    assert len({person for person in sort([*people, bridge]).values() if person}) == 2


def _on_the_way(one: Floats, other: Floats, part: float) -> Floats:
    across = other - (other @ one) * one
    across = across / np.linalg.norm(across)
    angle = part * np.pi / 2
    way: Floats = (np.cos(angle) * one + np.sin(angle) * across).astype(np.float32)
    return way


def test_a_face_that_is_hardly_seen_joins_somebody_but_is_nobody_new() -> None:
    clear = [face("A", number) for number in range(3)]
    blurred = [face("A", 10, clear=False), face("B", 1, clear=False), face("B", 2, clear=False)]
    # It comes first, and finds whoever comes behind it.
    whose = sort([*blurred, *clear])
    assert whose[blurred[0].face_id] == whose[clear[0].face_id] is not None
    assert whose[blurred[1].face_id] is None
    assert whose[blurred[2].face_id] is None
    assert is_clear(40, 50, -60)
    assert not any((is_clear(39, 50, 0), is_clear(40, 49, 0), is_clear(40, 50, 61)))


def test_what_a_blurred_face_looks_like_says_nothing_of_its_person() -> None:
    grouping = Grouping(BAR, [], ())
    sort([face("A", 1), *(face("A", number, clear=False, alike=0.6) for number in range(2, 30))], grouping)
    assert float(grouping._means[0] @ look("A", 1)) == pytest.approx(1.0, abs=1e-5)


def test_two_on_one_photo_are_two_unless_they_are_very_much_alike() -> None:
    photo = new_id()
    # A brother: alike enough, were it not for the photo.
    brothers = [face("A", 1, photo=photo, alike=0.6), face("A", 2, photo=photo, alike=0.6)]
    assert len(set(sort(brothers).values())) == 2
    apart = [face("A", 1, alike=0.6), face("A", 2, alike=0.6)]
    assert len(set(sort(apart).values())) == 1
    mirror = [face("A", 1, photo=photo, alike=0.8), face("A", 2, photo=photo, alike=0.8)]
    assert len(set(sort(mirror).values())) == 1


def parts(*names: str, count: int = 4) -> list[Part]:
    """The older first."""
    made = []
    for person_id, name in zip(sorted(new_id() for _ in names), names, strict=True):
        vectors = [look(name, number) for number in range(count)]
        made.append(Part(person_id, person_id, np.mean(vectors, axis=0, dtype=np.float32), count))
    return made


def united(known: list[Part], decided: Collection[UUID], photos: dict[UUID, set[UUID]]) -> list[Union]:
    """After a face of A has joined one of them."""
    grouping = Grouping(BAR, known, decided)
    grouping.place([face("A", 99)], {}, new_id)
    assert grouping.links() <= {part.person_id for part in known}
    return grouping.unite(photos)


def test_two_who_turn_out_to_be_one_become_the_older_one() -> None:
    older, younger = parts("A", "A")
    photos = {older.person_id: {new_id()}, younger.person_id: {new_id()}}
    (union,) = united([younger, older], (), photos)
    assert (union.kept, union.gone, union.part) == (older.person_id, younger.person_id, older.part)
    # Who has a name stays, whoever is older; and of two whom somebody told apart neither goes.
    (union,) = united([older, younger], {younger.person_id}, photos)
    assert union.kept == younger.person_id
    assert united([older, younger], {older.person_id, younger.person_id}, photos) == []


def test_two_who_were_photographed_together_stay_two() -> None:
    one, other = parts("A", "A", count=2)
    one, other = (
        Part(part.person_id, part.part, look("A", number, 0.6), 1) for number, part in enumerate((one, other))
    )
    photo = new_id()
    apart = {one.person_id: {new_id()}, other.person_id: {new_id()}}
    together = {one.person_id: {photo, new_id()}, other.person_id: {photo}}
    assert united([one, other], (), together) == []
    assert len(united([one, other], (), apart)) == 1
    # Of one whose faces somebody else is at nothing is known: they stay as they are.
    assert united([one, other], (), {one.person_id: {photo}}) == []


def test_every_part_of_a_merged_person_is_found_by_its_own_looks() -> None:
    young, old = parts("young", "old")
    merged = Part(young.person_id, old.part, old.mean, old.clear_faces)
    grouping = Grouping(BAR, [young, merged], {young.person_id})
    placed = grouping.place([face("old", 50), face("young", 51)], {}, new_id)
    assert [(one.person_id, one.part) for one in placed] == [
        (young.person_id, old.part),
        (young.person_id, young.part),
    ]


def test_packs_that_nobody_has_measured_ask_for_more() -> None:
    assert all(bars_of("another").one > bars.one for bars in BARS.values())


def test_a_face_is_found_again_by_its_place_once() -> None:
    old = [PlacedFace(new_id(), (0, 0, 100, 100)), PlacedFace(new_id(), (90, 0, 190, 100))]
    near, moved, new = (PlacedFace(new_id(), box) for box in ((5, 5, 95, 95), (100, 0, 200, 100), (300, 0, 400, 100)))
    assert found_again(old, [new, moved, near]) == [
        Carried(old[0].face_id, near.face_id),
        Carried(old[1].face_id, moved.face_id),
    ]
    assert found_again([], [near]) == found_again(old, []) == []
