"""What a worker process is asked and what it answers."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from face_embedder.packs import PackId

DIMENSIONS: Final = 512
_VECTOR_TEXT: Final = f"[{','.join(['%.6g'] * DIMENSIONS)}]"
"""All numbers are formatted at once: one by one they would take longer than their photo's transaction."""


@dataclass(frozen=True, slots=True)
class FaceOrder:
    """Find the faces of a picture; where `makes_preview`, make a preview of it first and look at that.

    `uses_previous` is for the pack that the wanted one takes the place of.
    """

    picture: bytes
    makes_preview: bool = False
    uses_previous: bool = False


class FoundFace(BaseModel):
    """One face; box and five points in pixels of the upright picture, angles in degrees.

    `embedding` is base64 of 512 float32, little-endian.
    """

    # What is wrong with an answer may be logged, but no face.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    box: tuple[float, float, float, float]
    landmarks: tuple[float, ...] = Field(min_length=10, max_length=10)
    score: float
    size_px: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float
    embedding: str

    @field_validator("embedding")
    @classmethod
    def _holds_numbers(cls, value: str) -> str:
        try:
            numbers = np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"it is no base64 of float32: {error}") from None
        if len(numbers) != DIMENSIONS or not np.isfinite(numbers).all():
            raise ValueError(f"expected {DIMENSIONS} finite numbers")
        return value

    def vector(self) -> str:
        """The embedding as PostgreSQL reads it."""
        return _VECTOR_TEXT % tuple(np.frombuffer(base64.b64decode(self.embedding), dtype="<f4").tolist())


class Analysis(BaseModel):
    """The faces of an upright picture, best first, and by which models; `preview` is base64 of a JPEG."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    pack: str
    pack_version: str
    threshold: float
    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)
    faces: tuple[FoundFace, ...]
    preview: str | None = None

    @property
    def pack_id(self) -> PackId:
        return PackId(self.pack, self.pack_version)

    def preview_bytes(self) -> bytes | None:
        return base64.b64decode(self.preview) if self.preview is not None else None

    def confidence(self) -> float:
        """The best score, 0 without a face."""
        return max((face.score for face in self.faces), default=0.0)
