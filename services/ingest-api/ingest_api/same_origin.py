"""Whether a call comes from a page of ours, so that a foreign page can't act with a visitor's cookie."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class CallOrigin(Enum):
    SAME = "same"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


def call_origin(
    origin: str | None, fetch_site: str | None, host: str | None, public_origins: Collection[str] = ()
) -> CallOrigin:
    """Judge by the headers Origin, Sec-Fetch-Site and Host.

    Browsers send Origin with every state-changing call and let no script forge it. The scheme is not compared with
    ours: behind a proxy that ends TLS we don't know it. `public_origins` are further addresses of this site, for
    proxies that rewrite Host.
    """
    if origin is not None:
        same = origin in public_origins or _is_of_host(origin, host)
        return CallOrigin.SAME if same else CallOrigin.FOREIGN
    if fetch_site is None:
        return CallOrigin.UNKNOWN
    return CallOrigin.SAME if fetch_site == "same-origin" else CallOrigin.FOREIGN


def _is_of_host(origin: str, host: str | None) -> bool:
    return bool(host) and origin.lower() in {f"http://{host}".lower(), f"https://{host}".lower()}
