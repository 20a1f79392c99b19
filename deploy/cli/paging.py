"""Lists that come page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import typer

MAX_LIMIT = 200
"""What the API gives at once."""

Limit: TypeAlias = Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="At most so many.")]
Cursor: TypeAlias = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Go on behind a page: its title names this.")
]


def given(**parameters: Any) -> dict[str, str | int]:
    """Those that say something, as an address has them."""
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else value
        for name, value in parameters.items()
        if value is not None
    }


def titled(title: str, body: Mapping[str, Any]) -> str:
    """With how to get the next page, where there is one."""
    cursor = body.get("nextCursor", body.get("next_cursor"))
    return title if cursor is None else f"{title} (further ones: --cursor {cursor})"
