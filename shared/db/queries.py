"""Named SQL: every statement of a module stands in its `queries.sql` under a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_NAME_LINE = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)


def load_queries(path: Path) -> Mapping[str, str]:
    """Read a file of statements, each headed by a line `-- name: snake_case`.

    Raises ValueError for a name that stands twice or has no statement.
    """
    text = path.read_text(encoding="utf-8")
    marks = list(_NAME_LINE.finditer(text))
    queries: dict[str, str] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = mark["name"]
        statement = text[mark.end() : following.start() if following else None].strip().removesuffix(";")
        if name in queries:
            raise ValueError(f"{path}: the query {name} stands twice; give each its own name")
        if not statement:
            raise ValueError(f"{path}: the query {name} has no statement")
        queries[name] = statement
    return MappingProxyType(queries)


def affected_rows(status: str) -> int:
    """How many rows a statement changed, by what PostgreSQL says of it, such as `DELETE 3`."""
    return int(status.rpartition(" ")[2])
