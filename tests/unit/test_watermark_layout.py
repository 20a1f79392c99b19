"""Marks stay inside, keep their share of the width, and tiles leave no gap wider than the margin."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_processor.watermark_layout import MOST_TILES_A_SIDE, MarkRules, lay_out, margin_of, tilted_size
from shared.events import WatermarkPosition

sides_px = st.integers(1, 16_383)
aspects = st.floats(0.01, 200)
scales = st.floats(0.0001, 1)
margins = st.floats(0, 0.4999999)
positions = st.sampled_from(WatermarkPosition)


@pytest.mark.parametrize(
    ("position", "corner"),
    [
        (WatermarkPosition.TOP_LEFT, (20, 20)),
        (WatermarkPosition.TOP, (400, 20)),
        (WatermarkPosition.TOP_RIGHT, (780, 20)),
        (WatermarkPosition.LEFT, (20, 150)),
        (WatermarkPosition.CENTER, (400, 150)),
        (WatermarkPosition.RIGHT, (780, 150)),
        (WatermarkPosition.BOTTOM_LEFT, (20, 280)),
        (WatermarkPosition.BOTTOM, (400, 280)),
        (WatermarkPosition.BOTTOM_RIGHT, (780, 280)),
    ],
)
def test_every_position(position: WatermarkPosition, corner: tuple[int, int]) -> None:
    layout = lay_out(MarkRules(position, 0.2, 0.05, tiled=False), 2.0, 1000, 400)
    assert (layout.width_px, layout.height_px) == (200, 100)
    assert layout.corners == (corner,)


@pytest.mark.parametrize(
    ("rules_scale", "margin", "aspect", "picture", "mark"),
    [
        (0.5, 0.0, 4.0, (800, 600), (400, 100)),
        (1.0, 0.1, 2.0, (1000, 1000), (800, 400)),  # between the margins only
        (1.0, 0.0, 0.5, (1000, 100), (50, 100)),  # as high as the picture, so narrower than wanted
        (0.25, 0.49, 1.0, (1, 1), (1, 1)),
        (0.25, 0.49, 1.0, (2, 3000), (1, 1)),
    ],
)
def test_sizes(
    rules_scale: float, margin: float, aspect: float, picture: tuple[int, int], mark: tuple[int, int]
) -> None:
    layout = lay_out(MarkRules(WatermarkPosition.CENTER, rules_scale, margin, tiled=False), aspect, *picture)
    assert (layout.width_px, layout.height_px) == mark


@given(positions, scales, margins, aspects, sides_px, sides_px)
def test_a_single_mark_stays_between_the_margins_and_keeps_its_share(
    position: WatermarkPosition, scale: float, margin: float, aspect: float, width_px: int, height_px: int
) -> None:
    layout = lay_out(MarkRules(position, scale, margin, tiled=False), aspect, width_px, height_px)
    margin_px = margin_of(margin, width_px, height_px)
    ((x_px, y_px),) = layout.corners
    assert margin_px <= x_px <= x_px + layout.width_px <= width_px - margin_px
    assert margin_px <= y_px <= y_px + layout.height_px <= height_px - margin_px
    assert layout.width_px <= max(1.0, scale * width_px + 0.5)
    limited = layout.height_px == height_px - 2 * margin_px or layout.width_px == width_px - 2 * margin_px
    assert limited or layout.width_px >= scale * width_px - 0.5


@given(scales, margins, aspects, sides_px, sides_px)
def test_tiles_cover_the_picture(scale: float, margin: float, aspect: float, width_px: int, height_px: int) -> None:
    layout = lay_out(MarkRules(WatermarkPosition.CENTER, scale, margin, tiled=True), aspect, width_px, height_px)
    stamp = (layout.stamp_width_px, layout.stamp_height_px)
    assert stamp == tilted_size(layout.width_px, layout.height_px)
    assert 1 <= len(layout.corners) <= (MOST_TILES_A_SIDE + 1) * MOST_TILES_A_SIDE
    gap_px = margin_of(margin, width_px, height_px)
    step_x_px = max(stamp[0] + gap_px, -(-width_px // MOST_TILES_A_SIDE))
    step_y_px = max(stamp[1] + gap_px, -(-height_px // MOST_TILES_A_SIDE))
    rows: dict[int, list[int]] = {}
    for x_px, y_px in layout.corners:
        assert -stamp[0] < x_px < width_px
        assert -stamp[1] < y_px < height_px
        rows.setdefault(y_px, []).append(x_px)
    for row in rows.values():
        assert row[0] <= step_x_px - stamp[0]
        assert all(right - left == step_x_px for left, right in pairwise(row))
        assert row[-1] + step_x_px >= width_px - (step_x_px - stamp[0])
    tops = sorted(rows)
    assert tops[0] <= step_y_px - stamp[1]
    assert all(lower - upper == step_y_px for upper, lower in pairwise(tops))
    assert tops[-1] + step_y_px >= height_px - (step_y_px - stamp[1])
