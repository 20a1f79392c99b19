"""Pages: templates of ours, rendered here, without scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).parent
STYLESHEET = (_FOLDER / "static" / "pages.css").read_bytes()
STYLESHEET_VERSION = hashlib.sha256(STYLESHEET).hexdigest()[:12]


def content_security_policy(*image_origins: str) -> str:
    """Only our own stylesheet, our own forms, no script at all; pictures from here and the given origins.

    `data:` is for the blur placeholders, which are a few hundred bytes each.
    """
    images = " ".join(("'self'", "data:", *image_origins))
    return (
        f"default-src 'none'; style-src 'self'; img-src {images}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


def page_headers(*image_origins: str) -> Mapping[str, str]:
    return MappingProxyType(
        {
            "Content-Security-Policy": content_security_policy(*image_origins),
            "Cache-Control": "no-store",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }
    )


PAGE_HEADERS = page_headers()


def size_in_words(size_bytes: int) -> str:
    """Decimal units, as file managers show them: 1.2 MB."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5 or unit == "GB":
            return f"{size:.1f} {unit}" if size < 99.5 else f"{size:.0f} {unit}"
    raise AssertionError("unreachable")


_environment = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["bytes"] = size_in_words
_environment.globals["stylesheet"] = f"/static/pages.css?v={STYLESHEET_VERSION}"


def render_page(template: str, **context: Any) -> str:
    """The page as HTML; a name that the template needs and the context lacks raises UndefinedError."""
    return _environment.get_template(template).render(context)
