"""The detector of the pack lite: small, fast, and looking twice."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from face_embedder.engine.boxes import distinct, iou
from face_embedder.engine.execution import Model
from face_embedder.engine.faces import Floats, Pixels
from face_embedder.engine.views import Sight, View, is_cut, views

SIGHT: Final = Sight(smallest_px=32.0, overview_px=320, largest_px=1024)
CANDIDATE_SCORE: Final = 0.5
CERTAIN_SCORE: Final = 0.65
"""Of the worse of two looks: what is no face may look like one at one size, hardly ever at two."""
_MULTIPLE_PX: Final = 32
_PRIORS_PX: Final = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}
"""The sides of the square prior boxes by the distance between their centres."""
_SECOND_LOOK_PX: Final = 128
_SECOND_LOOK_FACES_PX: Final = (56, 40)
"""The sizes that a candidate is brought to; its box is taken from the first."""
_SECOND_LOOK_IOU: Final = 0.3
_LARGEST_BATCH: Final = 32


class LiteDetector:
    """Finds faces from 40 px on, of any size beyond, in pictures of any size.

    It looks at the whole picture at some scales, and then at each candidate again, enlarged or reduced to the size it
    sees best: what was a pattern of the right size by chance is no face any more, and boxes get exact.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def find(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Boxes (n, 4) in pixels and their scores, best first."""
        boxes, scores = self._candidates(pixels)
        kept = distinct(boxes, scores)
        boxes, scores = self._second_look(pixels, boxes[kept])
        kept = distinct(boxes, scores)
        return boxes[kept], scores[kept]

    def _candidates(self, pixels: Pixels) -> tuple[Floats, Floats]:
        height_px, width_px = pixels.shape[:2]
        found = [(_NO_BOXES, _NO_SCORES)]
        for view in views(width_px, height_px, SIGHT):
            boxes, scores = self._seen(_shown(pixels, view)[None], CANDIDATE_SCORE)[0]
            boxes = boxes / view.scale + np.array([view.left, view.top] * 2, dtype=np.float32)
            whole = [index for index, box in enumerate(boxes) if not is_cut(tuple(box), view, width_px, height_px)]
            found.append((boxes[whole], scores[whole]))
        return np.concatenate([boxes for boxes, _ in found]), np.concatenate([scores for _, scores in found])

    def _second_look(self, pixels: Pixels, candidates: Floats) -> tuple[Floats, Floats]:
        boxes, scores = [_NO_BOXES], [_NO_SCORES]
        for start in range(0, len(candidates), _LARGEST_BATCH):
            batch = candidates[start : start + _LARGEST_BATCH]
            placed, worst = self._looked_at(pixels, batch, _SECOND_LOOK_FACES_PX[0])
            for face_px in _SECOND_LOOK_FACES_PX[1:]:
                left = worst > CERTAIN_SCORE
                batch, placed, worst = batch[left], placed[left], worst[left]
                if len(batch):
                    worst = np.minimum(worst, self._looked_at(pixels, batch, face_px)[1])
            certain = worst > CERTAIN_SCORE
            boxes.append(placed[certain])
            scores.append(worst[certain])
        return np.concatenate(boxes), np.concatenate(scores)

    def _looked_at(self, pixels: Pixels, candidates: Floats, face_px: int) -> tuple[Floats, Floats]:
        """Each candidate's box and score when it is shown in this size; the score is 0 where it is no face then."""
        scales = face_px / np.maximum((candidates[:, 2:] - candidates[:, :2]).max(axis=1), 1.0)
        corners = (candidates[:, :2] + candidates[:, 2:]) / 2 - (_SECOND_LOOK_PX / 2 / scales)[:, None]
        crops = [_square(pixels, corner, scale) for corner, scale in zip(corners, scales, strict=True)]
        boxes, scores = candidates.copy(), np.zeros(len(candidates), dtype=np.float32)
        for index, (seen, seen_scores) in enumerate(self._seen(np.stack(crops), CANDIDATE_SCORE)):
            placed = (seen / scales[index] + np.tile(corners[index], 2)).astype(np.float32)
            same = iou(candidates[index], placed) > _SECOND_LOOK_IOU
            if same.any():
                best = int(np.argmax(np.where(same, seen_scores, 0.0)))
                boxes[index], scores[index] = placed[best], seen_scores[best]
        return boxes, scores

    def _seen(self, inputs: Pixels, least_score: float) -> list[tuple[Floats, Floats]]:
        """What the model sees on each of the inputs (n, height, width, 3), in their pixels."""
        batch = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2), dtype=np.float32)
        batch -= 127.0
        batch /= 128.0
        scores, offsets = self._model.run(batch)
        prior_boxes = priors(inputs.shape[2], inputs.shape[1])
        result = []
        for score, offset in zip(scores[:, :, 1], offsets, strict=True):
            likely = score > least_score
            boxes = _moved(prior_boxes[likely], offset[likely])
            kept = distinct(boxes, score[likely])
            result.append((boxes[kept], score[likely][kept]))
        return result


_NO_BOXES: Final = np.empty((0, 4), dtype=np.float32)
_NO_SCORES: Final = np.empty(0, dtype=np.float32)


def _shown(pixels: Pixels, view: View) -> Pixels:
    """A part of the picture at the view's scale, with black to the right and below up to a size that divides well."""
    part = pixels[view.top : view.top + view.height, view.left : view.left + view.width]
    width_px, height_px = (max(1, round(side * view.scale)) for side in (view.width, view.height))
    shown = np.zeros((_rounded_up(height_px), _rounded_up(width_px), 3), dtype=np.uint8)
    shown[:height_px, :width_px] = resized(part, width_px, height_px)
    return shown


def _rounded_up(length_px: int) -> int:
    return math.ceil(length_px / _MULTIPLE_PX) * _MULTIPLE_PX


def resized(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    smaller = width_px < pixels.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width_px, height_px), interpolation=method), dtype=np.uint8)


def _square(pixels: Pixels, corner: Floats, scale: float) -> Pixels:
    """The square of the second look that begins at this corner, with black where the picture ends."""
    side_px = max(1, round(_SECOND_LOOK_PX / scale))
    left, top = (round(float(value)) for value in corner)
    square = np.zeros((side_px, side_px, 3), dtype=np.uint8)
    part = pixels[max(0, top) : max(0, top + side_px), max(0, left) : max(0, left + side_px)]
    square[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]] = part
    return resized(square, _SECOND_LOOK_PX, _SECOND_LOOK_PX)


@lru_cache(maxsize=64)
def priors(width_px: int, height_px: int) -> Floats:
    """The prior boxes of an input in the model's order, as centre x, centre y and side, twice, in pixels."""
    levels = []
    for step_px, sides_px in _PRIORS_PX.items():
        rows, columns = math.ceil(height_px / step_px), math.ceil(width_px / step_px)
        y, x, side = np.meshgrid(
            (np.arange(rows) + 0.5) * step_px, (np.arange(columns) + 0.5) * step_px, sides_px, indexing="ij"
        )
        levels.append(np.stack([x, y, side, side], axis=-1).reshape(-1, 4))
    result: Floats = np.concatenate(levels).astype(np.float32)
    result.setflags(write=False)
    return result


def _moved(prior_boxes: Floats, offsets: Floats) -> Floats:
    centres = prior_boxes[:, :2] + 0.1 * offsets[:, :2] * prior_boxes[:, 2:]
    halves = prior_boxes[:, 2:] * np.exp(0.2 * offsets[:, 2:]) / 2
    result: Floats = np.concatenate([centres - halves, centres + halves], axis=1)
    return result
