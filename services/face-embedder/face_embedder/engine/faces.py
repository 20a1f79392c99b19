"""What the engine tells of a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""Rows, columns, and the channels red, green, blue."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Detection:
    """A face that was found: its box (x1, y1, x2, y2) and five points in pixels, its score in 0..1.

    The points are the eye on the picture's left, the other eye, the nose's tip, the mouth's corner on the picture's
    left, the other corner: shape (5, 2).
    """

    box: tuple[float, float, float, float]
    landmarks: Floats
    score: float

    @property
    def size_px(self) -> float:
        """The box's longer side."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a head points, in degrees, estimated from five points: for telling turned heads from those seen in front.

    Yaw and roll are good to about 10 degrees, pitch to 20.

    `yaw` is positive where the nose points to the right side of the picture, `pitch` where it points up, `roll` where
    the head leans clockwise as it is seen.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face can be recognised.

    `size_px` is the longer side of its box. `sharpness` is the variance of the Laplacian of the aligned face, in grey
    levels squared: below about 50 a face is blurred, or was enlarged from few pixels.
    """

    size_px: float
    sharpness: float
    pose: Pose


@dataclass(frozen=True, slots=True)
class Face:
    """A face with its embedding: 512 numbers of length 1, whose dot product is the similarity of two faces.

    Box and points are in pixels of the upright picture in its full size.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    score: float
    quality: Quality
    embedding: Floats
