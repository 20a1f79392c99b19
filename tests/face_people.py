"""Faces of people who are as alike as a test wants them: embeddings made for it, in place of pictures."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face_embedder.likeness import Floats


@lru_cache(maxsize=256)
def somebody(name: str) -> Floats:
    """What a person looks like; two people have nothing in common."""
    return _unit(_noise(name))


def look(name: str, seed: int, similarity: float = 0.8) -> Floats:
    """A face of this person; two looks are about `similarity` alike."""
    own = _noise(f"{name} {seed}")
    centre = somebody(name)
    own = _unit(own - (own @ centre) * centre)
    return _unit(np.sqrt(similarity) * centre + np.sqrt(1 - similarity) * own)


def between(one: str, other: str, seed: int) -> Floats:
    """A face that is like both."""
    return _unit(look(one, seed, 0.95) + look(other, seed, 0.95))


def _noise(name: str) -> Floats:
    return np.random.default_rng(random.Random(name).getrandbits(32)).standard_normal(512).astype(np.float32)


def _unit(vector: NDArray[Any]) -> Floats:
    unit: Floats = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit
