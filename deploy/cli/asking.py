"""One question to the API: asked, its answer shown, and the program ended with its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table

from deploy.cli.output import print_problem, print_tables
from deploy.cli.session import Answer, NotReached, Refused, signed_in

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the API's answer as it is.")]
Tables: TypeAlias = Callable[[Any], Sequence[Table]]
"""Makes an answer's tables."""


class ExitCode(IntEnum):
    """Beside 0, done, and 2, wrong use."""

    REFUSED = 1
    NOT_REACHED = 3


def ask(
    method: str,
    path: str,
    tables: Tables,
    *,
    as_json: bool,
    params: Mapping[str, str | int] | None = None,
    body: object = None,
) -> None:
    """Ask once, and show the answer; what can't be answered ends the program."""
    try:
        with signed_in(os.environ) as session:
            answer = session.ask(method, path, params, body)
        if as_json:
            typer.echo(answer.text)
        else:
            print_tables(_tables_of(answer, tables))
    except Refused as refusal:
        print_problem(refusal.title, refusal.detail, *refusal.field_errors)
        raise typer.Exit(ExitCode.REFUSED) from None
    except NotReached as error:
        print_problem(str(error))
        raise typer.Exit(ExitCode.NOT_REACHED) from None


def _tables_of(answer: Answer, tables: Tables) -> Sequence[Table]:
    try:
        return tables(answer.body)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise NotReached(
            f"the API answered what this version of mediabus can't show ({error!r}): --json does"
        ) from error
