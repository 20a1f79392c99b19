"""The part of a photo that shows a face; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ROOM: Final = 1.7
"""So many times the face's size is shown, so that there is hair and chin around it."""


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """A face on a preview of that size; `view_box` is the square around it, as SVG takes it."""

    url: str
    width_px: int
    height_px: int
    view_box: str


def square_around(box: Sequence[float], width_px: int, height_px: int) -> str:
    """`box` is left, top, right, bottom. The square lies on the picture wherever it fits there."""
    left, top, right, bottom = box
    side = max(1.0, min(ROOM * max(right - left, bottom - top), width_px, height_px))
    x = min(max(0.0, (left + right - side) / 2), width_px - side)
    y = min(max(0.0, (top + bottom - side) / 2), height_px - side)
    return f"{x:.1f} {y:.1f} {side:.1f} {side:.1f}"


def crop_of(url: str | None, box: Sequence[float] | None, size_px: tuple[int, int] | None) -> FaceCrop | None:
    """None where the photo, the face or the size of the preview is not known."""
    if url is None or box is None or size_px is None:
        return None
    return FaceCrop(url, *size_px, square_around(box, *size_px))
