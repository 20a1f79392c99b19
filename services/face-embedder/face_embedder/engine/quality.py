"""How well a face can be recognised: its sharpness, and where the head points."""

from __future__ import annotations

import math

import cv2
import numpy as np

from face_embedder.engine.faces import Floats, Pixels, Pose

# A usual head in millimetres from the nose's tip: right, down, away from the camera. Seen from in front it is like the
# template that faces are aligned to.
HEAD = np.array(
    [[-32.0, -36.6, 28.0], [32.0, -36.6, 28.0], [0.0, 0.0, 0.0], [-26.5, 37.4, 24.0], [26.5, 37.4, 24.0]],
    dtype=np.float64,
)


def sharpness(crop: Pixels) -> float:
    """The variance of the Laplacian of the inner part of an aligned face, where no background is."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    inner = grey[crop.shape[0] // 5 : -(crop.shape[0] // 10), crop.shape[1] // 5 : -(crop.shape[1] // 5)]
    return float(cv2.Laplacian(inner, cv2.CV_64F).var())


def pose(landmarks: Floats) -> Pose:
    """Fit the usual head to five points under a distant camera; an estimate, exact for that head alone."""
    points = landmarks.astype(np.float64)
    camera = np.linalg.lstsq(HEAD - HEAD.mean(axis=0), points - points.mean(axis=0), rcond=None)[0].T
    # The first two rows of the head's rotation, each times the scale; without the roll, yaw and pitch stand apart.
    roll = math.atan2(camera[1, 0], camera[0, 0])
    upright = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]]) @ camera
    right, down = (row / max(float(np.linalg.norm(row)), 1e-9) for row in upright)
    away = np.cross(right, down)
    return Pose(
        yaw=math.degrees(math.atan2(-right[2], away[2])),
        pitch=math.degrees(math.asin(min(1.0, max(-1.0, float(down[2]))))),
        roll=math.degrees(roll),
    )
