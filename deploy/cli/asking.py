"""One question to the API: asked, its answer shown, and the program ended with its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

import typer

from deploy.cli.output import Shown, print_json_text, print_problem, print_shown
from deploy.cli.problems import ExitCode, NotReached, Refused
from deploy.cli.session import Answer, Session, signed_in

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the API's answer as it is.")]
View: TypeAlias = Callable[[Any], Sequence[Shown]]
"""Makes what people read of an answer."""
Parameters: TypeAlias = Mapping[str, str | int]


def ask(
    method: str,
    path: str,
    view: View,
    *,
    as_json: bool,
    params: Parameters | None = None,
    body: object = None,
) -> None:
    """Ask once, and show the answer; what can't be answered ends the program."""
    with asking() as session:
        show(session.ask(method, path, params, body), view, as_json=as_json)


@contextmanager
def asking() -> Iterator[Session]:
    """Who asks; what can't be answered ends the program."""
    with ended_by_problems(), signed_in(os.environ) as session:
        yield session


@contextmanager
def ended_by_problems() -> Iterator[None]:
    try:
        yield
    except Refused as refusal:
        print_problem(*refusal.lines)
        raise typer.Exit(ExitCode.REFUSED) from None
    except NotReached as error:
        print_problem(str(error))
        raise typer.Exit(ExitCode.NOT_REACHED) from None


def show(answer: Answer, view: View, *, as_json: bool) -> None:
    if as_json:
        print_json_text(answer.text)
    else:
        print_shown(viewed(answer.body, view))


def viewed(body: Any, view: View) -> Sequence[Shown]:
    try:
        return view(body)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise NotReached(
            f"the API answered what this version of mediabus can't show ({error!r}): --json does"
        ) from error
