"""The pack lite: three small models under the MIT licence that run well on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np

from face_embedder import errors
from face_embedder.engine import lite_graphs
from face_embedder.engine.alignment import aligned
from face_embedder.engine.execution import Execution, Model, load
from face_embedder.engine.faces import Detection, Floats, Pixels
from face_embedder.engine.insightface_models import ArcFace, arcface_template
from face_embedder.engine.lite_detector import LiteDetector, resized
from face_embedder.engine.model_files import ModelFile, known_sums, version_of

NAME: Final = "lite"
FILES: Final = ("fr_detect.onnx", "fr_landmark.onnx", "fr_feature.onnx")
THRESHOLD: Final = 0.45
_RELEASE: Final = "0.0.1-1"
"""The package's version, and a number for how its models are used: it grows when embeddings change."""
LARGEST_DISAGREEMENT: Final = 0.06
"""Of the landmarks of a face and of its mirror image, as a part of its side. At 0.05 faces were lost."""
_MIRRORED_POINTS: Final = [1, 0, 2, 4, 3]
_LANDMARKS_PX: Final = 64
_LANDMARKS_ENLARGED: Final = 1.1


class LitePack:
    """Detector, 68 landmarks and recognition."""

    name = NAME
    threshold = THRESHOLD

    def __init__(self, files: dict[str, ModelFile], execution: Execution) -> None:
        self.version = version_of(files, known_sums(NAME), _RELEASE)
        detect, landmark, feature = (files[name] for name in FILES)
        self._detector = LiteDetector(_load(lite_graphs.any_size, detect, execution))
        self._landmarks = _load(lite_graphs.any_batch, landmark, execution)
        recognition = _any_batch_without_prelu if execution.is_on_cpu else lite_graphs.any_batch
        self._arcface = ArcFace(_load(recognition, feature, execution), feature.content, feature.path)
        self._template = arcface_template()

    def detect(self, pixels: Pixels) -> list[Detection]:
        boxes, scores = self._detector.find(pixels)
        if not len(boxes):
            return []
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        places = np.array([_landmark_place(box, pixels.shape[1], pixels.shape[0]) for box in boxes])
        crops = np.stack([resized(grey[y1:y2, x1:x2], _LANDMARKS_PX, _LANDMARKS_PX) for x1, y1, x2, y2 in places])
        points, disagreement = self._landmarks_of(crops)
        corners, sides = places[:, None, :2], places[:, None, 2:] - places[:, None, :2]
        points = (points * sides + corners).astype(np.float32)
        return [
            Detection(_as_box(boxes[index]), points[index], float(scores[index]))
            for index in np.flatnonzero(disagreement < LARGEST_DISAGREEMENT)
        ]

    def _landmarks_of(self, crops: Pixels) -> tuple[Floats, Floats]:
        """Five points for each crop as parts of its sides, and how far those of its mirror image lie from them.

        Of a face both are nearly the same, and their mean is better than either; of what is no face they are not.
        """
        both = np.concatenate([crops, crops[:, :, ::-1]])[:, None].astype(np.float32) / 256.0
        points = self._landmarks.run(both)[0].reshape(2, len(crops), 68, 2)
        straight, mirrored = (np.stack([five_of_68(each) for each in half]) for half in points)
        mirrored = mirrored[:, _MIRRORED_POINTS]
        mirrored[:, :, 0] = 1.0 - mirrored[:, :, 0]
        disagreement = np.linalg.norm(straight - mirrored, axis=2).mean(axis=1)
        return np.asarray((straight + mirrored) / 2, dtype=np.float32), disagreement

    def align(self, pixels: Pixels, detection: Detection) -> Pixels:
        return aligned(pixels, detection.landmarks, self._template)

    def embed(self, crops: Sequence[Pixels]) -> Floats:
        return self._arcface.embed(crops)


def _any_batch_without_prelu(content: bytes) -> bytes:
    return lite_graphs.without_prelu(lite_graphs.any_batch(content))


def _load(freed: Callable[[bytes], bytes], file: ModelFile, execution: Execution) -> Model:
    try:
        content = freed(file.content)
    except ValueError as error:
        raise errors.model_unusable(file.path, str(error)) from error
    return load(content, file.path, execution)


def _as_box(box: Floats) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2


def _landmark_place(box: Floats, width_px: int, height_px: int) -> tuple[int, int, int, int]:
    """The part of the picture that the landmarks are looked for in: the box, a little larger, inside the picture."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * _LANDMARKS_ENLARGED
    x1, y1 = np.maximum(np.floor(centre - half), 0).astype(int)
    x2, y2 = np.ceil(centre + half).astype(int)
    x1, y1 = min(int(x1), width_px - 1), min(int(y1), height_px - 1)
    return x1, y1, max(x1 + 1, min(int(x2), width_px)), max(y1 + 1, min(int(y2), height_px))


def five_of_68(points: Floats) -> Floats:
    """Eyes, nose and the mouth's corners, of the 68 points that are usual for landmarks."""
    return np.stack(
        [
            points[36:42].mean(axis=0),
            points[42:48].mean(axis=0),
            points[30],
            (points[48] + points[60]) / 2,
            (points[54] + points[64]) / 2,
        ]
    ).astype(np.float32)
