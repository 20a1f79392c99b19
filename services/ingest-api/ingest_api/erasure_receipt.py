"""Receipts that say which faces were erased, signed so that anybody can tell ours from others; pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALGORITHM: Final = "Ed25519"
_PURPOSE: Final = b"mediabus receipts of erased faces"


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """`signature` is over the bytes of `text` in UTF-8, by the key whose public half is `public_key`."""

    text: str
    signature: bytes
    public_key: bytes


class ReceiptSigner:
    """Signs with a key of its own, which follows from the secret that it is given."""

    def __init__(self, secret: bytes) -> None:
        seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret)
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key: Final = self._key.public_key().public_bytes_raw()

    def sign(self, receipt: dict[str, Any]) -> SignedReceipt:
        """The receipt as JSON text; the same receipt gives the same text and signature."""
        text = json.dumps(receipt, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return SignedReceipt(text, self._key.sign(text.encode()), self.public_key)


def moment(at: datetime) -> str:
    """As receipts write it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
