"""A link for guests: what it lets them do, and the pass that stands for its PIN."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Gallery:
    """`may_list`: see every photo; `may_search`: find one's own; `may_download`: get originals of what one sees."""

    id: UUID
    event_id: UUID
    name: str
    pin_hash: str | None = field(repr=False)
    may_list: bool
    may_search: bool
    may_download: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    created_by: UUID
    created_at: datetime

    def is_open(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class GalleryPasses:
    """What guests hold in place of the PIN once they gave it: a text that only we can make, good for a while.

    It is bound to the PIN as it is, so another PIN ends all passes.
    """

    def __init__(self, signing_key: bytes, lifetime_seconds: float) -> None:
        self._signing_key = signing_key
        self.lifetime_seconds = lifetime_seconds

    def issue(self, gallery: Gallery, now: float) -> str:
        """`now` is a Unix time in seconds."""
        expires_at = int(now + self.lifetime_seconds)
        return f"{expires_at}.{self._sign(gallery, expires_at)}"

    def is_valid(self, gallery: Gallery, text: str, now: float) -> bool:
        expires_at, _, signature = text.partition(".")
        if not (text.isascii() and expires_at.isdecimal() and len(expires_at) <= 12):
            return False
        expected = self._sign(gallery, int(expires_at))
        return hmac.compare_digest(expected.encode(), signature.encode()) and now < int(expires_at)

    def _sign(self, gallery: Gallery, expires_at: int) -> str:
        text = f"gallery\n{gallery.id}\n{gallery.pin_hash}\n{expires_at}"
        return hmac.new(self._signing_key, text.encode(), hashlib.sha256).hexdigest()
