"""Sizes, numbers and times as people read them; each is the same in both languages but for its texts."""

from __future__ import annotations

from datetime import UTC, datetime


def size_in_words(size_bytes: int) -> str:
    """Decimal units, as file managers show them: 1.2 MB."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            return f"{size:.1f} {unit}" if size < 99.5 else f"{size:.0f} {unit}"
    raise AssertionError("unreachable")


def number_in_words(number: int) -> str:
    """Thin spaces between thousands, which neither language mistakes for a decimal sign."""
    return f"{number:,}".replace(",", "\u202f")


def time_in_words(moment: datetime) -> str:
    """In UTC; scripts put the visitor's own time in its place."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def duration_in_words(seconds: float) -> str:
    """The two largest units: 1:05 h, 2:30 min, 4.2 s."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d} h"
