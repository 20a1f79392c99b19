"""What commands print: the API's answer as it is, or tables of it; and on stderr what went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from deploy.cli.terminal_text import shown, shown_json, shown_on_one_line

PIPE_COLUMNS: Final = 160
"""How wide tables are where no terminal says."""


@dataclass(frozen=True, slots=True)
class TitledTable:
    """A table below its title, which may be wider: an id in it stays in one piece."""

    title: str
    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, overflow="fold")
        yield self.table


Shown: TypeAlias = TitledTable | str


def print_shown(parts: Iterable[Shown]) -> None:
    console = console_on(is_error=False)
    for part in drawn(parts):
        console.print(part, soft_wrap=isinstance(part, Text))


def drawn(parts: Iterable[Shown]) -> Iterator[TitledTable | Text]:
    for part in parts:
        yield part if isinstance(part, TitledTable) else Text(shown_on_one_line(part))


def print_json_text(text: str) -> None:
    """The API's answer as it came; of one without a body `null`."""
    typer.echo(shown_json(text) or "null")


def print_json_line(value: Any) -> None:
    """At once, for whoever reads along."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def print_problem(summary: str, *further: str) -> None:
    console = console_on(is_error=True)
    for line in (f"error: {summary}", *further):
        console.print(shown_on_one_line(line), soft_wrap=True)


def print_note(line: str) -> None:
    """On stderr: what is no answer and no problem."""
    console_on(is_error=True).print(shown_on_one_line(line), soft_wrap=True)


def facts_table(title: str, facts: Mapping[str, Any]) -> TitledTable:
    """One thing, a line for each fact; facts that say nothing are left out."""
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if (text := cell(value)) != "":
            table.add_row(shown_on_one_line(name), text)
    return TitledTable(shown_on_one_line(title), table)


def rows_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> TitledTable:
    """Many of a kind. Nothing is cut off, and the first column is in one piece: an id is there to be copied."""
    listed = [[cell(value) for value in row] for row in rows]
    needs_lines = any("\n" in text for row in listed for text in row)
    table = Table(show_lines=needs_lines)
    for position, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=position == 0)
    for row in listed:
        table.add_row(*row)
    return TitledTable(shown_on_one_line(title), table)


def cell(value: Any) -> str:
    """A value of the API as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case str():
            return shown(value)
        case _:
            return shown(json.dumps(value, ensure_ascii=False))


def moment(text: str | None) -> str:
    """A time of the API in this machine's zone."""
    return "" if text is None else datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def counts(told: Mapping[str, int]) -> str:
    """Those that are not 0."""
    return ", ".join(f"{name} {count:,}" for name, count in told.items() if count) or ("nothing" if told else "")


def seconds(told: float | None) -> str:
    """A span of time such as 2 h 5 min."""
    if told is None:
        return ""
    minutes, rest = divmod(round(told), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def console_on(*, is_error: bool) -> Console:
    """What the API says is text: no sign of it is markup, an emoji or a colour."""
    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else PIPE_COLUMNS
    return Console(stderr=is_error, width=width, markup=False, highlight=False, emoji=False)
