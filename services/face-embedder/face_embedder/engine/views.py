"""At which scales, and in which parts, a picture is shown to a detector that sees faces of some sizes only."""

from __future__ import annotations

import math
from dataclasses import dataclass

SMALLEST_FACE_PX = 40.0
"""The longer side of the smallest face that must be found."""

_LEVEL_RATIO = 4.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What a detector can see, in pixels of its input.

    `smallest_px`: from this size on it finds every face. `overview_px`: an input with this longer side shows faces as
    large as the picture. `largest_px`: the longest side of an input.
    """

    smallest_px: float
    overview_px: int
    largest_px: int


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture in whole pixels, and the scale at which the detector looks at it."""

    left: int
    top: int
    width: int
    height: int
    scale: float


def views(width_px: int, height_px: int, sight: Sight) -> list[View]:
    """What to show to the detector so that it finds every face from SMALLEST_FACE_PX on.

    Each level shows the whole picture, in parts where it would be too large. The parts of a level overlap by the size
    of the smallest face that the next level finds for certain: a face that no part shows whole is found there.
    """
    scales = _scales(max(width_px, height_px), sight)
    found_beyond = [sight.smallest_px / scale for scale in scales[1:]] + [0.0]
    return [
        View(left, top, width, height, scale)
        for scale, overlap_px in zip(scales, found_beyond, strict=True)
        for top, height in _parts(height_px, sight.largest_px / scale, overlap_px)
        for left, width in _parts(width_px, sight.largest_px / scale, overlap_px)
    ]


def _scales(longer_px: int, sight: Sight) -> list[float]:
    overview = sight.overview_px / longer_px
    scales = [max(sight.smallest_px / SMALLEST_FACE_PX, overview)]
    while scales[-1] > overview * _LEVEL_RATIO:
        scales.append(scales[-1] / _LEVEL_RATIO)
    return scales if scales[-1] == overview else [*scales, overview]


def _parts(length_px: int, longest_px: float, overlap_px: float) -> list[tuple[int, int]]:
    """Start and length of equal parts of a side, none longer than wanted, that overlap at least so much."""
    if length_px <= math.ceil(longest_px):
        return [(0, length_px)]
    part_px = math.floor(longest_px)
    step_px = max(1, part_px - math.ceil(overlap_px))
    count = math.ceil((length_px - part_px) / step_px) + 1
    return [(round(index * (length_px - part_px) / (count - 1)), part_px) for index in range(count)]


def is_cut(box: tuple[float, float, float, float], view: View, width_px: int, height_px: int) -> bool:
    """Whether a box found in this view lies at an edge that the picture goes on behind: it is of a part of a face."""
    margin_px = 2.0 / view.scale
    x1, y1, x2, y2 = box
    return (
        (view.left > 0 and x1 < view.left + margin_px)
        or (view.top > 0 and y1 < view.top + margin_px)
        or (view.left + view.width < width_px and x2 > view.left + view.width - margin_px)
        or (view.top + view.height < height_px and y2 > view.top + view.height - margin_px)
    )
