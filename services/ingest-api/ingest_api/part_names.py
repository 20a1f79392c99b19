"""The names in the header of a part, in whatever characters its client wrote them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

HEADER_CHARSET: Final = "latin-1"
"""In which headers are to be read: it keeps every byte, so that what they mean can be found out here."""

_OLD_CHARSETS: Final = frozenset({"iso-8859-1", "latin-1", "latin1", "us-ascii", "windows-1252"})
_OPTION: Final = re.compile(r';\s*(?P<name>[\w-]+\*?)\s*=\s*(?:"(?:\\.|[^\\"])*"|(?P<token>[^;"\s]*))')
_EXTENDED: Final = re.compile(r"(?P<charset>[^']*)'[^']*'(?P<text>.*)")


def header_text(kept: str) -> str:
    """What the bytes of a header mean: UTF-8, as browsers write, or else the Latin-1 of older clients."""
    content = kept.encode(HEADER_CHARSET)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return _old_text(content)


def extended_filename(disposition: str) -> str | None:
    """What `filename*=` says (RFC 5987), which counts more than `filename=`; None where it is absent or malformed."""
    for option in _OPTION.finditer(disposition):
        if option["name"].lower() == "filename*" and (value := _EXTENDED.fullmatch(option["token"] or "")):
            content = unquote_to_bytes(value["text"].encode(HEADER_CHARSET))
            is_old = value["charset"].lower() in _OLD_CHARSETS
            return _old_text(content) if is_old else content.decode("utf-8", "replace")
    return None


def _old_text(content: bytes) -> str:
    # As browsers read what calls itself Latin-1: the two differ in characters that Latin-1 has no letters for.
    return content.decode("cp1252", "replace")
