"""Every face that must be found is shown whole, at a size that the detector sees; boxes of one face become one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from face_embedder.engine.boxes import distinct
from face_embedder.engine.views import SMALLEST_FACE_PX, Sight, View, is_cut, views

LITE = Sight(smallest_px=32.0, overview_px=320, largest_px=1024)
SCRFD = Sight(smallest_px=20.0, overview_px=640, largest_px=640)
SIGHTS = st.sampled_from([LITE, SCRFD])
SIDES = st.integers(min_value=1, max_value=6000)


@given(SIGHTS, SIDES, SIDES, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_every_face_is_shown_whole_and_large_enough(
    sight: Sight, width_px: int, height_px: int, x: float, y: float, size: float
) -> None:
    shorter = min(width_px, height_px)
    if shorter < SMALLEST_FACE_PX:
        return
    face_px = SMALLEST_FACE_PX + size * (shorter - SMALLEST_FACE_PX)
    left, top = x * (width_px - face_px), y * (height_px - face_px)

    def shows(view: View) -> bool:
        inside_x = view.left <= left and left + face_px <= view.left + view.width
        inside_y = view.top <= top and top + face_px <= view.top + view.height
        return inside_x and inside_y and face_px * view.scale >= sight.smallest_px * 0.999

    assert any(shows(view) for view in views(width_px, height_px, sight))


@given(SIGHTS, SIDES, SIDES)
def test_views_stay_inside_the_picture_and_below_the_largest_input(sight: Sight, width_px: int, height_px: int) -> None:
    for view in views(width_px, height_px, sight):
        assert view.left >= 0
        assert view.top >= 0
        assert view.left + view.width <= width_px
        assert view.top + view.height <= height_px
        assert max(view.width, view.height) * view.scale <= sight.largest_px + 1


def test_a_preview_is_looked_at_twice_and_a_small_picture_once() -> None:
    assert [view.scale for view in views(640, 427, LITE)] == [0.8, 0.5]
    assert views(300, 200, LITE) == [View(0, 0, 300, 200, 320 / 300)]


def test_what_is_cut_by_a_view_is_no_face_and_what_is_cut_by_the_picture_may_be() -> None:
    left_half = View(0, 0, 500, 400, 1.0)
    assert is_cut((400, 10, 500, 110), left_half, 1000, 400)
    assert not is_cut((-5, 10, 95, 110), left_half, 1000, 400)
    assert not is_cut((300, 10, 400, 110), left_half, 1000, 400)


def test_the_best_box_of_each_face_is_kept() -> None:
    boxes = np.array(
        [[0, 0, 100, 100], [5, 5, 105, 105], [70, 0, 170, 100], [30, 30, 60, 60], [300, 0, 340, 40]], dtype=np.float32
    )
    scores = np.array([0.8, 0.9, 0.7, 0.95, 0.99], dtype=np.float32)
    # The second is of the first's face, the fourth a part of it; the third stands beside it.
    assert distinct(boxes[[0, 1, 2, 4]], scores[[0, 1, 2, 4]]).tolist() == [3, 1, 2]
    assert distinct(boxes[[1, 3]], np.array([0.95, 0.9], dtype=np.float32)).tolist() == [0]
    assert distinct(np.empty((0, 4), dtype=np.float32), np.empty(0, dtype=np.float32)).tolist() == []
