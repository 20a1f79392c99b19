"""Sessions: how long they live, and the cookie that carries their token."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.datastructures import Cookie


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """A session ends after `idle_seconds` without a request and `lifetime_seconds` after signing in at the latest."""

    idle_seconds: float = 12 * 3600.0
    lifetime_seconds: float = 7 * 24 * 3600.0
    kept_per_account: int = 100
    """Signing in ends the oldest sessions beyond this many."""

    @property
    def touch_seconds(self) -> float:
        """How old the note of the last request may get before it is written anew: requests stay free of writes."""
        return min(60.0, self.idle_seconds / 10)


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """The cookie's flags. `secure` is for sites behind TLS; browsers then never send it over plain HTTP."""

    secure: bool

    @property
    def name(self) -> str:
        # Browsers take a cookie of the __Host- prefix only from the host itself, over TLS, for the path /.
        return "__Host-mediabus_session" if self.secure else "mediabus_session"

    def holding(self, token: str, lifetime_seconds: float) -> Cookie:
        return self._cookie(token, int(lifetime_seconds))

    def cleared(self) -> Cookie:
        return self._cookie("", 0)

    def _cookie(self, value: str, max_age_seconds: int) -> Cookie:
        return Cookie(
            key=self.name,
            value=value,
            path="/",
            max_age=max_age_seconds,
            httponly=True,
            secure=self.secure,
            samesite="lax",
        )
