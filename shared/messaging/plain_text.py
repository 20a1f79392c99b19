"""Text that UTF-8, Kafka headers and PostgreSQL can all hold."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain_text(text: str) -> str:
    """The text with NULs and lone surrogates replaced.

    PostgreSQL refuses the first and UTF-8 the second: what cannot be written down can be neither retried nor become a
    dead letter, and would come back for ever.
    """
    return text.replace("\x00", REPLACEMENT).encode("utf-8", "replace").decode("utf-8")


def read_text(value: bytes | None) -> str:
    """What Kafka holds, as plain text; absent is empty."""
    return plain_text((value or b"").decode("utf-8", "replace"))
