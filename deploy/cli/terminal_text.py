"""Foreign text on a terminal: what would move its cursor, colour it or turn its direction is written out instead."""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but line feed and tab; among those above 7f is an 8 bit wide escape
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the direction of what follows
    "\u2028\u2029"  # other ends of lines
    "\ud800-\udfff"  # halves of a sign: bytes of a file name that are no UTF-8
    "]"
)


def shown(text: str) -> str:
    """Text whose lines stay, and whose unsafe signs are written out, such as `\\x1b`."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown_on_one_line(text: str) -> str:
    return shown(text).replace("\n", "\\n")


def shown_json(text: str) -> str:
    """JSON that says the same: such signs stand in its strings alone, where an escape means them too."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in "\r" else f"\\u{ord(found[0]):04x}", text)
