"""Looks for a picture or an embedding in what must have neither, however it is written there."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

BLOCK_BYTES: Final = 32
"""A window of twice as many bytes of a secret has a whole block of it."""
LONGEST_LIST: Final = 64
_NUMBERS = re.compile(rb'(?:"?-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"?[\s,;]+){%d}' % LONGEST_LIST)


class Leaks:
    """Knows secrets as bytes, base64, hexadecimal and escaped text, and any list of many numbers for an embedding."""

    def __init__(self, pictures: Sequence[bytes], embeddings: Sequence[np.ndarray]) -> None:
        secrets = [*pictures]
        for embedding in embeddings:
            secrets += [embedding.astype(kind).tobytes() for kind in ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")]
        self._needles = {needle for secret in secrets for needle in _needles(secret)}

    def found_in(self, text: bytes) -> str | None:
        """What of a secret is there; None where nothing is."""
        for needle in self._needles:
            if needle in text:
                return f"a part of a secret: {needle!r}"
        listed = _NUMBERS.search(text)
        return None if listed is None else f"a list of numbers: {listed.group()[:200]!r}"


def _needles(secret: bytes) -> Iterator[bytes]:
    for start in range(0, len(secret) - BLOCK_BYTES + 1, BLOCK_BYTES):
        block = secret[start : start + BLOCK_BYTES]
        if len(set(block)) < BLOCK_BYTES // 4:
            continue  # a run of the same few bytes says nothing of whose it is
        yield block
        yield block.hex().encode()
        yield block.hex().upper().encode()
        yield repr(block)[2:-1].encode()
        # As base64 of something longer: the block may begin at any of three places.
        for shift in range(3):
            part = block[shift : shift + 27]
            yield base64.b64encode(part)
            yield base64.urlsafe_b64encode(part)
