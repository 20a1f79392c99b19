"""Which of many boxes are of one face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from face_embedder.engine.faces import Floats

SAME_FACE_IOU = 0.4
SAME_FACE_CONTAINED = 0.7
"""Of the smaller box, so that a nose found as a face of its own goes, and a face in front of another stays."""


def distinct(boxes: Floats, scores: Floats) -> NDArray[np.intp]:
    """The indices of the best box of each face, best first; `boxes` has rows of x1, y1, x2, y2."""
    left = np.argsort(-scores, kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[~same_face(boxes[best], boxes[left])]
    return np.array(kept, dtype=np.intp)


def same_face(box: Floats, others: Floats) -> NDArray[np.bool_]:
    """Which of the other boxes are of the face that this box is of."""
    shared = overlap(box, others)
    own, theirs = area(box[None])[0], area(others)
    contained = shared > SAME_FACE_CONTAINED * np.minimum(own, theirs)
    result: NDArray[np.bool_] = (shared > SAME_FACE_IOU * (own + theirs - shared)) | contained
    return result


def overlap(box: Floats, others: Floats) -> Floats:
    """The areas that the other boxes share with this one."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    result: Floats = np.prod(np.maximum(sides, 0), axis=1)
    return result


def area(boxes: Floats) -> Floats:
    result: Floats = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return result


def iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of this box with each of the others."""
    shared = overlap(box, others)
    result: Floats = shared / np.maximum(area(box[None])[0] + area(others) - shared, 1e-9)
    return result
