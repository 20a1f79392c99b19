"""Finds faces on pictures and turns each into an embedding; knows nothing of Kafka, tables or HTTP."""

from __future__ import annotations

from face_embedder.engine.engine import FaceEngine
from face_embedder.engine.execution import Execution
from face_embedder.engine.faces import Detection, Face, Pose, Quality
from face_embedder.engine.pack import FacePack
from face_embedder.engine.packs import PackOptions, open_pack

__all__ = ["Detection", "Execution", "Face", "FaceEngine", "FacePack", "PackOptions", "Pose", "Quality", "open_pack"]
