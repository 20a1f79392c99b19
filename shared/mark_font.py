"""The font that watermarks are written in, and which letters it has.

Whoever accepts a text has to know what can be drawn, and whoever draws it has to use the same font. So both ask here,
and only the font's own table is read: no imaging library is needed to refuse a text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_PACKAGE: Final = "ttf_opensans"
_FILE: Final = "OpenSans-SemiBold.ttf"
_TABLE_RECORD: Final = struct.Struct(">4s4xII")
_SUBTABLE_RECORD: Final = struct.Struct(">HHI")
_UNICODE_SUBTABLES: Final = frozenset({(0, 3), (3, 1)})
_SEGMENTS: Final = 4
_LAST_CODE: Final = 0xFFFF


@lru_cache(maxsize=1)
def font_path() -> Path:
    """Where the font lies. Raises RuntimeError where its package is not installed."""
    # Not imported: the package would load an imaging library where there is one.
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the package {_PACKAGE} is missing: install the dependencies of mediabus-shared")
    return Path(spec.origin).with_name("ttf") / _FILE


def undrawable(text: str) -> str:
    """The letters of a text that the font has no shape for, each once, in their order; empty if there are none."""
    letters = drawable_letters()
    return "".join(dict.fromkeys(letter for letter in text if ord(letter) not in letters))


@lru_cache(maxsize=1)
def drawable_letters() -> frozenset[int]:
    """The code points that have a shape. Raises RuntimeError for a font without a table of them that is known here."""
    font = font_path().read_bytes()
    (tables,) = struct.unpack_from(">H", font, 4)
    for position in range(tables):
        name, start, length = _TABLE_RECORD.unpack_from(font, 12 + position * _TABLE_RECORD.size)
        if name == b"cmap":
            return frozenset(_letters_of(font[start : start + length]))
    raise RuntimeError(f"{font_path()} is no font: it has no table of letters")


def _letters_of(table: bytes) -> Iterator[int]:
    """The letters of the table's part for Unicode's basic plane (OpenType `cmap`, format 4)."""
    (subtables,) = struct.unpack_from(">H", table, 2)
    for position in range(subtables):
        platform, encoding, start = _SUBTABLE_RECORD.unpack_from(table, 4 + position * _SUBTABLE_RECORD.size)
        if (platform, encoding) in _UNICODE_SUBTABLES and struct.unpack_from(">H", table, start) == (_SEGMENTS,):
            return _letters_of_segments(table[start:])
    raise RuntimeError(f"{font_path()} has no table of letters that can be read here")


def _letters_of_segments(table: bytes) -> Iterator[int]:
    (doubled,) = struct.unpack_from(">H", table, 6)
    count = doubled // 2
    offsets_at = 16 + 3 * doubled
    lasts = struct.unpack_from(f">{count}H", table, 14)
    firsts = struct.unpack_from(f">{count}H", table, 16 + doubled)
    deltas = struct.unpack_from(f">{count}H", table, 16 + 2 * doubled)
    offsets = struct.unpack_from(f">{count}H", table, offsets_at)
    for segment in range(count):
        for code in range(firsts[segment], lasts[segment] + 1):
            glyph = code
            if offsets[segment]:
                # Counted from the place of the offset itself.
                at = offsets_at + 2 * segment + offsets[segment] + 2 * (code - firsts[segment])
                (glyph,) = struct.unpack_from(">H", table, at)
            # Glyph 0 is the box that stands for a letter without a shape.
            if code != _LAST_CODE and (glyph and (glyph + deltas[segment]) & 0xFFFF):
                yield code
