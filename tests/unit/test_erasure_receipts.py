"""Receipts can be told from others, and from changed ones."""

from __future__ import annotations

import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ingest_api.erasure_receipt import ReceiptSigner, SignedReceipt

RECEIPT = {"erasure_id": "1", "faces_erased": 2, "photos": [{"photo_id": "ü", "faces_erased": 2}]}


def verify(signed: SignedReceipt, text: str) -> None:
    Ed25519PublicKey.from_public_bytes(signed.public_key).verify(signed.signature, text.encode())


def test_who_has_the_public_key_verifies_the_text() -> None:
    signed = ReceiptSigner(b"s" * 32).sign(RECEIPT)
    assert json.loads(signed.text) == RECEIPT
    verify(signed, signed.text)
    with pytest.raises(InvalidSignature):
        verify(signed, signed.text.replace('"faces_erased":2', '"faces_erased":3'))


def test_every_process_signs_alike_and_another_secret_is_another_key() -> None:
    one, same, other = ReceiptSigner(b"s" * 32), ReceiptSigner(b"s" * 32), ReceiptSigner(b"t" * 32)
    assert one.sign(RECEIPT) == same.sign(RECEIPT)
    assert one.public_key == same.public_key != other.public_key
