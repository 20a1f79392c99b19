"""Where a mark stands on a picture: pure geometry, no pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shared.events import WatermarkPosition

TILT_DEGREES: Final = 30.0
MOST_TILES_A_SIDE: Final = 64
"""Smaller tiles stand further apart, so that a tiny mark cannot make a picture take for ever."""

_LEFT: Final = frozenset({WatermarkPosition.TOP_LEFT, WatermarkPosition.LEFT, WatermarkPosition.BOTTOM_LEFT})
_RIGHT: Final = frozenset({WatermarkPosition.TOP_RIGHT, WatermarkPosition.RIGHT, WatermarkPosition.BOTTOM_RIGHT})
_TOP: Final = frozenset({WatermarkPosition.TOP_LEFT, WatermarkPosition.TOP, WatermarkPosition.TOP_RIGHT})
_BOTTOM: Final = frozenset({WatermarkPosition.BOTTOM_LEFT, WatermarkPosition.BOTTOM, WatermarkPosition.BOTTOM_RIGHT})


@dataclass(frozen=True, slots=True)
class MarkRules:
    """`scale` is the mark's width as a share of the picture's, `margin` a share of the picture's shorter side.

    The margin is the distance from the edges, or from tile to tile.
    """

    position: WatermarkPosition
    scale: float
    margin: float
    tiled: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The mark is drawn `width_px` x `height_px`; tiles are then tilted, which makes `stamp_*_px` of them.

    `corners` are the upper left ones of every stamp; tiles may reach over the edges.
    """

    width_px: int
    height_px: int
    stamp_width_px: int
    stamp_height_px: int
    corners: tuple[tuple[int, int], ...]


def lay_out(rules: MarkRules, aspect: float, width_px: int, height_px: int) -> Layout:
    """Size and place a mark, `aspect` times as wide as high, on a picture of this size.

    A mark that would not fit between the margins is made smaller, so that it is always seen whole.
    """
    margin_px = margin_of(rules.margin, width_px, height_px)
    mark_width_px, mark_height_px = _mark_size(rules.scale, aspect, margin_px, width_px, height_px)
    if not rules.tiled:
        corner = (
            _anchored(rules.position, _LEFT, _RIGHT, margin_px, width_px, mark_width_px),
            _anchored(rules.position, _TOP, _BOTTOM, margin_px, height_px, mark_height_px),
        )
        return Layout(mark_width_px, mark_height_px, mark_width_px, mark_height_px, (corner,))
    stamp_width_px, stamp_height_px = tilted_size(mark_width_px, mark_height_px)
    corners = tuple(_tiles(stamp_width_px, stamp_height_px, margin_px, width_px, height_px))
    return Layout(mark_width_px, mark_height_px, stamp_width_px, stamp_height_px, corners)


def margin_of(margin: float, width_px: int, height_px: int) -> int:
    """The margin in pixels; at least one pixel stays between two of them."""
    shorter_px = min(width_px, height_px)
    return min(int(margin * shorter_px), (shorter_px - 1) // 2)


def tilted_size(width_px: int, height_px: int) -> tuple[int, int]:
    """What a mark takes when it is tilted; a line of single pixels stays as it is, for it would fade away."""
    if 1 in (width_px, height_px):
        return width_px, height_px
    cosine, sine = math.cos(math.radians(TILT_DEGREES)), math.sin(math.radians(TILT_DEGREES))
    return math.ceil(width_px * cosine + height_px * sine), math.ceil(width_px * sine + height_px * cosine)


def _mark_size(scale: float, aspect: float, margin_px: int, width_px: int, height_px: int) -> tuple[int, int]:
    free_width_px, free_height_px = width_px - 2 * margin_px, height_px - 2 * margin_px
    width = min(scale * width_px, free_width_px, free_height_px * aspect)
    return _within(width, free_width_px), _within(width / aspect, free_height_px)


def _within(length: float, limit_px: int) -> int:
    return max(1, min(limit_px, int(length + 0.5)))


def _anchored(
    position: WatermarkPosition,
    at_start: frozenset[WatermarkPosition],
    at_end: frozenset[WatermarkPosition],
    margin_px: int,
    side_px: int,
    mark_px: int,
) -> int:
    if position in at_start:
        return margin_px
    return side_px - margin_px - mark_px if position in at_end else (side_px - mark_px) // 2


def _tiles(
    stamp_width_px: int, stamp_height_px: int, gap_px: int, width_px: int, height_px: int
) -> Iterator[tuple[int, int]]:
    """Cells that cover the whole picture like bricks, each with a stamp in its middle."""
    step_x_px = max(stamp_width_px + gap_px, -(-width_px // MOST_TILES_A_SIDE))
    step_y_px = max(stamp_height_px + gap_px, -(-height_px // MOST_TILES_A_SIDE))
    columns, rows = -(-width_px // step_x_px), -(-height_px // step_y_px)
    first_x_px = (width_px - columns * step_x_px) // 2 + (step_x_px - stamp_width_px) // 2
    first_y_px = (height_px - rows * step_y_px) // 2 + (step_y_px - stamp_height_px) // 2
    for row in range(rows):
        y_px = first_y_px + row * step_y_px
        is_shifted = row % 2 if columns > 1 else 0  # a single column would leave a narrow picture
        for column in range(columns + is_shifted):
            x_px = first_x_px + column * step_x_px - is_shifted * (step_x_px // 2)
            if -stamp_width_px < x_px < width_px and -stamp_height_px < y_px < height_px:
                yield x_px, y_px
