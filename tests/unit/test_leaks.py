"""The search for leaks finds what it is there to find."""

from __future__ import annotations

import base64
import json
import random

import numpy as np
import pytest

from tests.leaks import Leaks

PICTURE = random.Random(1).randbytes(500)
EMBEDDING = np.random.default_rng(2).normal(size=512).astype("<f4") / 20
LEAKS = Leaks([PICTURE], [EMBEDDING])


@pytest.mark.parametrize(
    "leak",
    [
        PICTURE,
        PICTURE[101:165],
        base64.b64encode(b"x" + PICTURE),
        base64.urlsafe_b64encode(b"xy" + PICTURE[101:]),
        PICTURE[37:].hex().encode(),
        repr(PICTURE).encode(),
        EMBEDDING.tobytes(),
        base64.b64encode(EMBEDDING.astype("<f2").tobytes()),
        EMBEDDING.astype(">f8").tobytes()[200:300],
        json.dumps(EMBEDDING.tolist()).encode(),
        f"[{','.join(f'{number:.6g}' for number in EMBEDDING)}]".encode(),
        " ".join(str(number) for number in EMBEDDING[:80].astype("<f2")).encode(),
        np.array2string(EMBEDDING, threshold=1000).encode(),
    ],
)
def test_a_leak_is_found(leak: bytes) -> None:
    assert LEAKS.found_in(b'{"other": ["text", 1, 2, 3], "it": "' + leak + b'"}') is not None


def test_what_is_none_is_not() -> None:
    harmless = json.dumps({"box": [1.0, 2.5, 3.25, 4.0], "sha256": "9f86d081884c7d65" * 4, "more": list(range(40))})
    assert LEAKS.found_in(harmless.encode() + random.Random(3).randbytes(5000)) is None
