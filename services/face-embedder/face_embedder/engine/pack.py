"""The one interface of all face packs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from face_embedder.engine.faces import Detection, Floats, Pixels


class FacePack(Protocol):
    """Models that find faces and tell them apart. Every method may be called by several threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes with every byte of the models, and with how they are used: embeddings of two versions never mix."""

    @property
    def threshold(self) -> float:
        """From this similarity on two faces are taken for one person's, where nothing else is set."""

    def detect(self, pixels: Pixels) -> list[Detection]:
        """The faces of an upright picture, best first; boxes may reach over its edges."""

    def align(self, pixels: Pixels, detection: Detection) -> Pixels:
        """The face as `embed` wants it."""

    def embed(self, crops: Sequence[Pixels]) -> Floats:
        """The embeddings of aligned faces, one row of length 1 each."""
