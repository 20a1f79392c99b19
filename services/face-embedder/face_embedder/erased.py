"""Whether a face is one that was erased, which its place on the photo tells; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from face_embedder.analysis import Analysis

Box = tuple[float, ...]
"""Left, top, right, bottom in pixels of the upright preview."""

SHARED_PART: Final = 0.5
"""Of the smaller box. Other models draw boxes tighter or wider; two faces side by side share far less."""


def is_same_place(one: Box, other: Box) -> bool:
    """Whether both boxes are around one face."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return False
    smaller = min(_area(one), _area(other))
    return smaller > 0 and width * height >= SHARED_PART * smaller


def without_erased(analysis: Analysis, places: Iterable[Box]) -> Analysis:
    """The faces of a picture that are in none of these places."""
    erased = list(places)
    kept = tuple(face for face in analysis.faces if not any(is_same_place(face.box, box) for box in erased))
    return analysis.model_copy(update={"faces": kept})


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
