"""What a worker process may answer."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from face_embedder.analysis import Analysis, FoundFace
from face_embedder.searching import Refused, chosen_face

EMBEDDING = base64.b64encode(np.full(512, 0.0442, "<f4").tobytes()).decode()


def face(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "box": (1, 2, 3, 4),
        "landmarks": tuple(range(10)),
        "score": 0.9,
        "size_px": 80,
        "sharpness": 100,
        "yaw": 0,
        "pitch": 0,
        "roll": 0,
        "embedding": EMBEDDING,
    }
    return values | changes


def test_an_embedding_is_told_as_postgresql_reads_it() -> None:
    vector = FoundFace(**face()).vector()
    assert vector.startswith("[0.0442,0.0442,")
    assert vector.count(",") == 511


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": "no base64"},
        {"embedding": base64.b64encode(np.zeros(511, "<f4").tobytes()).decode()},
        {"embedding": base64.b64encode(np.full(512, np.nan, "<f4").tobytes()).decode()},
        {"score": float("inf")},
        {"landmarks": (1, 2)},
        {"name": "somebody"},
    ],
)
def test_what_is_no_face_is_refused_without_repeating_it(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        FoundFace(**face(**changes))
    assert "input_value" not in str(caught.value)
    assert EMBEDDING[:20] not in str(caught.value)


def test_confidence_is_that_of_the_best_face() -> None:
    faces = tuple(FoundFace(**face(score=score)) for score in (0.7, 0.9, 0.8))
    found = Analysis(pack="lite", pack_version="1", threshold=0.45, width_px=640, height_px=480, faces=faces)
    assert found.confidence() == 0.9
    assert found.model_copy(update={"faces": ()}).confidence() == 0.0


def test_the_largest_face_is_chosen_or_the_one_that_is_asked_for() -> None:
    faces = [FoundFace(**face(size_px=size)) for size in (50, 200, 100)]
    assert chosen_face(faces, "largest") == (0, faces[1])
    assert chosen_face(faces, 2) == (2, faces[0])
    for choice in (-1, 3):
        with pytest.raises(Refused, match="no_such_face"):
            chosen_face(faces, choice)
    with pytest.raises(Refused, match="no_face_in_selfie"):
        chosen_face([], "largest")
