"""Faces as a worker tells of them, by their places."""

from __future__ import annotations

import base64

import numpy as np

from face_embedder.analysis import Analysis, FoundFace

Place = tuple[float, float, float, float]


def at(left: float) -> Place:
    """A box of 100 by 120 pixels."""
    return left, 100.0, left + 100.0, 220.0


def found(box: Place, score: float) -> FoundFace:
    embedding = base64.b64encode(np.ones(512, dtype="<f4").tobytes()).decode()
    return FoundFace(
        box=box,
        landmarks=(0.0,) * 10,
        score=score,
        size_px=100.0,
        sharpness=1.0,
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        embedding=embedding,
    )


def analysed(*faces: FoundFace) -> Analysis:
    """Of a picture of 600 by 450 pixels."""
    return Analysis(pack="lite", pack_version="1", threshold=0.45, width_px=600, height_px=450, faces=faces)
