"""Whether a face is one that was erased, which its place on the photo tells; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from face_embedder.analysis import Analysis

Box = tuple[float, ...]
"""Left, top, right, bottom in pixels of the upright preview."""

SHARED_PART: Final = 0.5
"""Of the smaller box. Other models draw boxes tighter or wider; two faces side by side share far less."""


@dataclass(frozen=True, slots=True)
class ErasedPlace:
    """Where a face was; `parts` is its box in parts of the picture's width and height, None where they are unknown."""

    box: Box
    parts: Box | None = None

    def on(self, width_px: int, height_px: int) -> Box:
        """The box on a picture of this size, which may be the same one saved larger or smaller."""
        if self.parts is None:
            return self.box
        left, top, right, bottom = self.parts
        return left * width_px, top * height_px, right * width_px, bottom * height_px


def is_same_place(one: Box, other: Box) -> bool:
    """Whether both boxes are around one face."""
    return shared_part(one, other) >= SHARED_PART


def shared_part(one: Box, other: Box) -> float:
    """How much of the smaller box lies in the other, from 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min(_area(one), _area(other))
    return width * height / smaller if min(width, height, smaller) > 0 else 0.0


def without_erased(analysis: Analysis, places: Iterable[ErasedPlace]) -> Analysis:
    """The faces of a picture that are in none of these places."""
    erased = [place.on(analysis.width_px, analysis.height_px) for place in places]
    kept = tuple(face for face in analysis.faces if not any(is_same_place(face.box, box) for box in erased))
    return analysis.model_copy(update={"faces": kept})


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
