"""InsightFace's own model classes with types, running on sessions of ours."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from face_embedder import errors
from face_embedder.engine.alignment import SIDE_PX
from face_embedder.engine.execution import Model
from face_embedder.engine.faces import Floats, Pixels

EMBEDDING_LENGTH = 512
_LARGEST_BATCH = 32


def _part(module: str, name: str) -> Any:
    """Loaded when a pack is opened: InsightFace takes seconds, and loads all of itself."""
    return getattr(importlib.import_module(f"insightface.{module}"), name)


def arcface_template() -> Floats:
    """Where the five points of a face lie in a crop of 112 x 112 pixels."""
    return np.array(_part("utils.face_align", "arcface_dst"), dtype=np.float32)


class ArcFace:
    """A recognition model: aligned faces to embeddings. Raises EngineError for a model of another kind."""

    def __init__(self, model: Model, content: bytes, path: Path) -> None:
        # It reads the graph to see whether pixels are scaled inside it.
        self._arcface = _part("model_zoo.arcface_onnx", "ArcFaceONNX")(io.BytesIO(content), model.session)
        if self._arcface.input_size != (SIDE_PX, SIDE_PX) or self._arcface.output_shape[-1] != EMBEDDING_LENGTH:
            raise errors.model_unusable(
                path, f"it does not turn {SIDE_PX} x {SIDE_PX} pixels into {EMBEDDING_LENGTH} numbers"
            )

    def embed(self, crops: Sequence[Pixels]) -> Floats:
        rows = [np.empty((0, EMBEDDING_LENGTH), dtype=np.float32)]
        for start in range(0, len(crops), _LARGEST_BATCH):
            # InsightFace's pictures are blue, green, red.
            batch = [crop[:, :, ::-1] for crop in crops[start : start + _LARGEST_BATCH]]
            rows.append(cast(Floats, self._arcface.get_feat(batch)))
        embeddings = np.concatenate(rows)
        result: Floats = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
        return result


class Scrfd:
    """A detector with landmarks at one size of input. Raises EngineError for a model of another kind."""

    def __init__(self, model: Model, path: Path, size_px: int, score: float) -> None:
        # Without a file it uses the session that it is given for every size, and makes none of its own.
        self._scrfd = _part("model_zoo.scrfd", "SCRFD")(session=model.session)
        if not self._scrfd.use_kps:
            raise errors.model_unusable(path, "it finds no landmarks")
        # The size is pinned: InsightFace's default looks at 128 and 640 pixels and merges both.
        self._scrfd.prepare(0, input_size=(size_px, size_px), det_thresh=score)

    def detect(self, pixels: Pixels) -> tuple[Floats, Floats, Floats]:
        """Boxes (n, 4), scores (n) and landmarks (n, 5, 2) in the pixels of what is given."""
        found, landmarks = self._scrfd.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        return found[:, :4], found[:, 4], landmarks
