"""What commands print: the API's answer as it is, or tables of it; and on stderr what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table

PIPE_COLUMNS: Final = 160
"""How wide tables are where no terminal says."""


def print_tables(tables: Iterable[Table]) -> None:
    console = _console(is_error=False)
    for table in tables:
        console.print(table)


def print_problem(summary: str, *further: str) -> None:
    console = _console(is_error=True)
    console.print(f"error: {summary}", soft_wrap=True)
    for line in further:
        console.print(line, soft_wrap=True)


def facts_table(title: str, facts: Mapping[str, str]) -> Table:
    """One thing, a line for each fact."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def rows_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Many of a kind. Nothing is cut off, and the first column is in one piece: an id is there to be copied."""
    listed = list(rows)
    needs_lines = any("\n" in cell for row in listed for cell in row)
    table = Table(title=title, title_justify="left", show_lines=needs_lines)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == columns[0])
    for row in listed:
        table.add_row(*row)
    return table


def moment(text: str | None) -> str:
    """A time of the API in this machine's zone."""
    return "" if text is None else datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def counts(told: Mapping[str, int]) -> str:
    """Those that are not 0."""
    return ", ".join(f"{name} {count:,}" for name, count in told.items() if count) or ("nothing" if told else "")


def _console(*, is_error: bool) -> Console:
    """What the API says is text: no sign of it is markup, an emoji or a colour."""
    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else PIPE_COLUMNS
    return Console(stderr=is_error, width=width, markup=False, highlight=False, emoji=False)
