"""What a page may load and who may show it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def content_security_policy(*image_origins: str) -> str:
    """Our own style sheets, scripts and forms, nothing inline; pictures from here and the given origins.

    `data:` is for the blur placeholders, which are a few hundred bytes each, and `blob:` for pictures that were chosen
    and not sent yet. Scripts may make HTML only through the one policy that fragments go through.
    """
    images = " ".join(("'self'", "data:", "blob:", *image_origins))
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types mediabus-fragments"
    )


def page_headers(*image_origins: str) -> Mapping[str, str]:
    return MappingProxyType(
        {
            "Content-Security-Policy": content_security_policy(*image_origins),
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
    )


PAGE_HEADERS: Final = page_headers()
