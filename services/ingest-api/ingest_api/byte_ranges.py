"""Conditional and partial reads (RFC 9110 §13 and §14), as functions of the headers."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes\s*=\s*(?P<first>\d{0,18})\s*-\s*(?P<last>\d{0,18})")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes `start <= n < end` of a file."""

    start: int
    end: int

    def content_range(self, size_bytes: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size_bytes}"


class RangeNotSatisfiable(Exception):
    """The range begins behind the end of the file."""


def requested_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The part that is asked for; None for the whole file.

    Several ranges, other units and what is malformed are passed over, as the standard allows: the answer is the whole.
    Raises RangeNotSatisfiable.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found["first"] or found["last"]):
        return None
    if not found["first"]:
        return _suffix(int(found["last"]), size_bytes)
    start = int(found["first"])
    if found["last"] and int(found["last"]) < start:
        return None
    if start >= size_bytes:
        raise RangeNotSatisfiable
    return ByteRange(start, min(int(found["last"]) + 1, size_bytes) if found["last"] else size_bytes)


def _suffix(length: int, size_bytes: int) -> ByteRange:
    if length == 0 or size_bytes == 0:
        raise RangeNotSatisfiable
    return ByteRange(max(0, size_bytes - length), size_bytes)


def etag_matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names this (strong) entity tag; weak ones count as equal."""
    if header is None:
        return False
    return header.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in header.split(",")]
