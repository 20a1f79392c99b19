"""Which faces are taken for one that was erased."""

from __future__ import annotations

import pytest

from face_embedder.erased import Box, ErasedPlace, is_same_place, without_erased
from tests.found_faces import Place, analysed, at, found

FACE: Place = (100.0, 100.0, 200.0, 220.0)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (FACE, True),
        ((104.0, 95.0, 196.0, 230.0), True),
        ((120.0, 130.0, 180.0, 200.0), True),  # drawn tighter
        ((80.0, 60.0, 230.0, 260.0), True),  # drawn wider
        ((160.0, 100.0, 260.0, 220.0), False),  # the neighbour, in part in front of it
        ((200.0, 100.0, 300.0, 220.0), False),
        ((100.0, 300.0, 200.0, 420.0), False),
        ((150.0, 150.0, 150.0, 150.0), False),
    ],
)
def test_a_face_is_told_by_its_place(other: Box, is_same: bool) -> None:
    assert is_same_place(FACE, other) is is_same
    assert is_same_place(other, FACE) is is_same


def test_the_others_on_the_photo_stay() -> None:
    analysis = analysed(found(FACE, 0.9), found(at(300.0), 0.8))
    kept = without_erased(analysis, [ErasedPlace((98.0, 101.0, 203.0, 222.0))])
    assert [face.box for face in kept.faces] == [at(300.0)]
    assert kept.confidence() == 0.8
    assert without_erased(analysis, []) == analysis
    assert without_erased(analysis, [ErasedPlace(FACE), ErasedPlace(at(300.0))]).faces == ()


def test_a_place_is_the_same_on_a_picture_of_another_size() -> None:
    """It was erased on one of 1200 x 900 pixels, which was saved in half the size since."""
    erased = ErasedPlace((600.0, 200.0, 800.0, 440.0), parts=(600 / 1200, 200 / 900, 800 / 1200, 440 / 900))
    assert without_erased(analysed(found(at(300.0), 0.8), found(at(50.0), 0.8)), [erased]).faces == (
        found(at(50.0), 0.8),
    )
