"""Where a medium's files are read, and the signatures that open private ones."""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Signature:
    """The query parameters of a signed address; `expires_at` is a Unix time in seconds."""

    expires_at: int
    value: str


class MediaUrls:
    """Addresses below /media. They carry the revision, so an address never means other bytes and may be kept."""

    def __init__(self, signing_key: bytes, lifetime_seconds: float) -> None:
        self._signing_key = signing_key
        self._lifetime_seconds = lifetime_seconds

    def url(self, media_id: UUID, variant: str, revision: int, *, private: bool, now: float) -> str:
        """The address; a signed one, valid for one to two lifetimes, where the medium is private."""
        address = f"/media/{media_id}/{variant}?v={revision}"
        if not private:
            return address
        # Rounded up, so that the address stays the same for a while and caches can hold what it gave.
        expires_at = math.ceil((math.floor(now / self._lifetime_seconds) + 2) * self._lifetime_seconds)
        signature = self._sign(media_id, variant, revision, expires_at)
        return f"{address}&expires={expires_at}&signature={signature}"

    def is_valid(self, media_id: UUID, variant: str, revision: int, signature: Signature, *, now: float) -> bool:
        """Whether the signature was made here for this very file and has not expired."""
        expected = self._sign(media_id, variant, revision, signature.expires_at)
        return hmac.compare_digest(expected.encode(), signature.value.encode()) and now < signature.expires_at

    def _sign(self, media_id: UUID, variant: str, revision: int, expires_at: int) -> str:
        text = f"media\n{media_id}\n{variant}\n{revision}\n{expires_at}"
        return hmac.new(self._signing_key, text.encode(), hashlib.sha256).hexdigest()
