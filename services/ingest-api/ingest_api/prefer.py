"""The request header Prefer (RFC 7240)."""

from __future__ import annotations

import re

_WAIT = re.compile(r'wait\s*=\s*"?(?P<seconds>\d{1,9})"?')


def wait_seconds(header: str | None) -> int | None:
    """How long the client would wait for the outcome: `wait=10` is 10, `respond-async` alone 0, silence None."""
    if header is None:
        return None
    preferences = [part.partition(";")[0].strip().lower() for part in header.split(",")]
    # The first of several is the one that counts.
    for preference in preferences:
        if found := _WAIT.fullmatch(preference):
            return int(found["seconds"])
    return 0 if "respond-async" in preferences else None
