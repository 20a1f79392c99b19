"""What a person is shown of a message's bytes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Literal

SHOWN_BYTES = 64 * 1024

PayloadFormat = Literal["json", "text", "base64"]


@dataclass(frozen=True, slots=True)
class PayloadPreview:
    """`content` is the payload as it came, in base64 where it is no text; of a large one the first part."""

    format: PayloadFormat
    content: str
    size_bytes: int
    is_cut: bool


def preview(payload: bytes, most_bytes: int = SHOWN_BYTES) -> PayloadPreview:
    shown = payload[:most_bytes]
    is_cut = len(payload) > most_bytes
    text = _text(shown, is_cut=is_cut)
    if text is None:
        return PayloadPreview("base64", base64.b64encode(shown).decode(), len(payload), is_cut)
    return PayloadPreview("json" if _is_json(payload) else "text", text, len(payload), is_cut)


def _text(shown: bytes, *, is_cut: bool) -> str | None:
    """None where it is no UTF-8; a character that was cut in two is left out."""
    try:
        return shown.decode()
    except UnicodeDecodeError as error:
        is_only_cut = is_cut and error.reason == "unexpected end of data" and error.end == len(shown)
        return shown[: error.start].decode() if is_only_cut else None


def _is_json(payload: bytes) -> bool:
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return True
