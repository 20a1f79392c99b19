"""Turn and scale faces so that eyes, nose and mouth lie where the recognition models were taught to expect them."""

from __future__ import annotations

import cv2
import numpy as np

from face_embedder.engine.faces import Floats, Pixels

SIDE_PX = 112


def aligned(pixels: Pixels, landmarks: Floats, template: Floats) -> Pixels:
    """The face with these five points, moved so that they lie on those of the template, as 112 x 112 pixels."""
    matrix = similarity(landmarks, template)
    crop = cv2.warpAffine(pixels, matrix.astype(np.float64), (SIDE_PX, SIDE_PX), borderValue=(0.0, 0.0, 0.0))
    return np.asarray(crop, dtype=np.uint8)


def similarity(points: Floats, template: Floats) -> Floats:
    """The turn, scale and shift (2 x 3) that brings the points closest to the template, by least squares.

    Points in a plane are complex numbers, and a turn with a scale is one factor.
    """
    source = points[:, 0].astype(np.complex128) + 1j * points[:, 1]
    target = template[:, 0].astype(np.complex128) + 1j * template[:, 1]
    centred = source - source.mean()
    factor = np.vdot(centred, target - target.mean()) / max(np.vdot(centred, centred).real, 1e-12)
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]], dtype=np.float32)
