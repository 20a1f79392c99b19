"""Something under way at the API, looked at until it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.console import Group
from rich.live import Live

from deploy.cli.asking import View, asking, show, viewed
from deploy.cli.output import console_on, drawn, print_json_line, print_problem, print_shown
from deploy.cli.patience import patiently
from deploy.cli.problems import ExitCode
from deploy.cli.session import Answer, Session

FIRST_POLL_SECONDS: Final = 0.2
LONGEST_POLL_SECONDS: Final = 2.0

Timeout: TypeAlias = Annotated[float, typer.Option(min=0, help="Stop watching after so many seconds.")]
WatchAsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the API's answer on a line each time it changed; the last is the end.")
]
Wait: TypeAlias = Annotated[bool, typer.Option("--wait", help="Until it has ended; with --json as of `watch`.")]
DEFAULT_TIMEOUT: Final = 3600.0


def watch(
    path: str,
    view: View,
    *,
    has_ended: Callable[[Any], bool],
    is_well: Callable[[Any], bool],
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Show it until it has ended; ends the program with NOT_WELL where that, or the waiting, went badly.

    What the API can't answer for a while is asked again.
    """
    with asking() as session:
        follow(
            session,
            path,
            view,
            has_ended=has_ended,
            is_well=is_well,
            timeout_seconds=timeout_seconds,
            as_json=as_json,
        )


def follow(
    session: Session,
    path: str,
    view: View,
    *,
    has_ended: Callable[[Any], bool],
    is_well: Callable[[Any], bool],
    timeout_seconds: float,
    as_json: bool,
) -> None:
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = FIRST_POLL_SECONDS
    never = threading.Event()
    last: Any = None
    answer: Answer
    with _screen(is_quiet=as_json) as live:
        while True:
            answer = patiently(lambda: session.ask("GET", path), never)
            if answer.body != last and as_json:
                print_json_line(answer.body)
            if live is not None:
                live.update(Group(*drawn(viewed(answer.body, view))), refresh=True)
            last = answer.body
            if has_ended(last) or time.monotonic() + pause_seconds > deadline:
                break
            never.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, LONGEST_POLL_SECONDS)
    if live is None and not as_json:
        print_shown(viewed(last, view))
    if not has_ended(last):
        print_problem(f"it has not ended after {timeout_seconds:g} s: it goes on, and so can watching it")
    if not (has_ended(last) and is_well(last)):
        raise typer.Exit(ExitCode.NOT_WELL)


def start(
    method: str,
    path: str,
    view: View,
    *,
    as_json: bool,
    body: object = None,
    then: Callable[[Session, Any], None] | None = None,
) -> None:
    """Ask for something that goes on behind the answer; `then` follows it in place of the answer."""
    with asking() as session:
        answer = session.ask(method, path, body=body)
        if then is None:
            show(answer, view, as_json=as_json)
        else:
            then(session, answer.body)


def _screen(*, is_quiet: bool) -> AbstractContextManager[Live | None]:
    console = console_on(is_error=False)
    if is_quiet or not console.is_terminal:
        return nullcontext()
    return Live(console=console, auto_refresh=False, vertical_overflow="crop")
