"""The part of a photo that shows a face."""

from __future__ import annotations

import pytest

from ingest_api.face_crops import crop_of, square_around


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((300, 200, 400, 300), "265.0 165.0 170.0 170.0"),
        ((0, 0, 100, 100), "0.0 0.0 170.0 170.0"),
        ((560, 400, 640, 480), "504.0 344.0 136.0 136.0"),
        ((-20, 10, 620, 470), "60.0 0.0 480.0 480.0"),
        ((5, 5, 5, 5), "4.5 4.5 1.0 1.0"),
    ],
)
def test_the_square_stays_on_the_picture(box: tuple[float, ...], expected: str) -> None:
    assert square_around(box, 640, 480) == expected


def test_there_is_no_crop_of_what_is_not_known() -> None:
    assert crop_of(None, (0, 0, 9, 9), (640, 480)) is None
    assert crop_of("https://bucket.example.org/a.jpg", None, (640, 480)) is None
    assert crop_of("https://bucket.example.org/a.jpg", (0, 0, 9, 9), None) is None
