"""The pack buffalo_l of InsightFace: SCRFD-10G and ArcFace on ResNet50, for research that is not commercial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from face_embedder.engine.alignment import aligned
from face_embedder.engine.boxes import distinct
from face_embedder.engine.execution import Execution, load
from face_embedder.engine.faces import Detection, Floats, Pixels
from face_embedder.engine.insightface_models import ArcFace, Scrfd, arcface_template
from face_embedder.engine.model_files import ModelFile, known_sums, version_of
from face_embedder.engine.views import Sight, is_cut, views

NAME: Final = "buffalo_l"
FILES: Final = ("det_10g.onnx", "w600k_r50.onnx")
THRESHOLD: Final = 0.4
DETECTION_PX: Final = 640
DETECTION_SCORE: Final = 0.5
_RELEASE: Final = "0.7-1"
"""InsightFace's release of the weights, and a number for how they are used: it grows when embeddings change."""
_SIGHT: Final = Sight(smallest_px=20.0, overview_px=DETECTION_PX, largest_px=DETECTION_PX)


class BuffaloPack:
    """Detector with five landmarks, and recognition. Pictures beyond 1280 px are also looked at in parts."""

    name = NAME
    threshold = THRESHOLD

    def __init__(self, files: dict[str, ModelFile], execution: Execution) -> None:
        self.version = version_of(files, known_sums(NAME), _RELEASE)
        detection, recognition = (files[name] for name in FILES)
        detector = load(detection.content, detection.path, execution)
        self._scrfd = Scrfd(detector, detection.path, DETECTION_PX, DETECTION_SCORE)
        recogniser = load(recognition.content, recognition.path, execution)
        self._arcface = ArcFace(recogniser, recognition.content, recognition.path)
        self._template = arcface_template()

    def detect(self, pixels: Pixels) -> list[Detection]:
        height_px, width_px = pixels.shape[:2]
        found = []
        for view in views(width_px, height_px, _SIGHT):
            part = pixels[view.top : view.top + view.height, view.left : view.left + view.width]
            corner = np.array([view.left, view.top], dtype=np.float32)
            for box, score, points in zip(*self._scrfd.detect(part), strict=True):
                x1, y1, x2, y2 = (float(value) for value in box + np.tile(corner, 2))
                if not is_cut((x1, y1, x2, y2), view, width_px, height_px):
                    found.append(Detection((x1, y1, x2, y2), (points + corner).astype(np.float32), float(score)))
        boxes = np.array([face.box for face in found], dtype=np.float32).reshape(-1, 4)
        return [found[index] for index in distinct(boxes, np.array([face.score for face in found], dtype=np.float32))]

    def align(self, pixels: Pixels, detection: Detection) -> Pixels:
        return aligned(pixels, detection.landmarks, self._template)

    def embed(self, crops: Sequence[Pixels]) -> Floats:
        return self._arcface.embed(crops)
