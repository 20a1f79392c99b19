"""A run of uploads: files and folders, several at once, shown as they go, told of as they end."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Final, Protocol, TypeAlias

import typer
from rich.console import RenderableType
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from deploy.cli.asking import ended_by_problems
from deploy.cli.output import console_on, print_json_line, print_problem, print_shown, seconds
from deploy.cli.patience import Interrupted
from deploy.cli.problems import ExitCode
from deploy.cli.session import MOST_CONNECTIONS, Session, signed_in
from deploy.cli.upload_plan import FoundFile, found_files
from deploy.cli.uploading import Outcome, Sender, Status, in_parallel

DEFAULT_PARALLEL: Final = 4
DEFAULT_WAIT_SECONDS: Final = 3600.0
INTERRUPTED: Final = 130

Paths: TypeAlias = Annotated[
    list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files, and folders with all below them.")
]
EveryType: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Of folders all files that are not hidden; else pictures.")
]
Parallel: TypeAlias = Annotated[int, typer.Option(min=1, max=MOST_CONNECTIONS, help="So many at once.")]
Wait: TypeAlias = Annotated[bool, typer.Option("--wait", help="Until all are processed.")]
Timeout: TypeAlias = Annotated[float, typer.Option(min=0, help="Seconds that --wait waits behind the last file.")]
AsLines: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print a line of JSON for each file as it ends, then one for them all.")
]
MakeSender: TypeAlias = Callable[[threading.Event, Callable[[int], None]], Sender]
"""Makes a sender that ends when the event is set, and tells how many bytes went out."""


def run_uploads(
    paths: list[Path],
    id_names: Sequence[str],
    opened: Callable[[Session], AbstractContextManager[MakeSender]],
    *,
    every_type: bool,
    parallel: int,
    wait_seconds: float | None,
    as_json: bool,
) -> None:
    """Send files, and end the command with its exit code.

    Files that are refused are told of and don't stop the others. With `wait_seconds` outcomes are awaited for so long
    behind the last file.
    """
    report = _Report(id_names, as_json=as_json)
    files: list[FoundFile] = []
    for found in found_files(paths, every_type=every_type):
        if isinstance(found, FoundFile):
            files.append(found)
        else:
            path, error = found
            report.tell(Outcome(path, Status.UNREADABLE, reason=error.strerror or str(error)))
    stop = threading.Event()
    try:
        with (
            ended_by_problems(),
            signed_in(os.environ) as session,
            opened(session) as make_sender,
            _progress(files, waits=wait_seconds is not None, is_quiet=as_json) as progress,
        ):
            report.begin()
            _run(make_sender(stop, progress.bytes_sent), files, parallel, wait_seconds, progress, report)
    except (KeyboardInterrupt, Interrupted):
        report.end(is_broken_off=True)
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        if report.has_begun:
            report.end(is_broken_off=True)
        raise
    report.end(is_broken_off=False)
    if not report.all_is_well:
        raise typer.Exit(ExitCode.NOT_WELL)


def _run(
    sender: Sender,
    files: list[FoundFile],
    parallel: int,
    wait_seconds: float | None,
    progress: _Shows,
    report: _Report,
) -> None:
    # What became of files and is not told of yet: with `--wait` that they were sent, until they are processed.
    ended: dict[Path, Outcome] = {}

    def send(file: FoundFile) -> Outcome:
        return ended.setdefault(file.path, sender.send(file))

    try:
        taken: list[Outcome] = []
        for outcome in in_parallel(send, files, parallel, sender.stop):
            progress.file_sent()
            if wait_seconds is not None and outcome.is_well:
                taken.append(outcome)
            else:
                report.tell(ended.pop(outcome.path))
        if wait_seconds is not None:
            deadline = time.monotonic() + wait_seconds
            waiting = in_parallel(lambda one: sender.processed(one, deadline), taken, parallel, sender.stop)
            for outcome in waiting:
                progress.file_processed()
                del ended[outcome.path]
                report.tell(outcome)
    finally:
        # Of a run that is broken off.
        for outcome in ended.values():
            report.tell(outcome)


class _Report:
    """Tells of outcomes as they come, and of all in the end."""

    def __init__(self, id_names: Sequence[str], *, as_json: bool) -> None:
        self._id_names = id_names
        self._as_json = as_json
        self._counts: Counter[Status] = Counter()
        self._bytes = 0
        self._began: float | None = None

    @property
    def has_begun(self) -> bool:
        return self._began is not None

    def begin(self) -> None:
        self._began = time.monotonic()

    @property
    def all_is_well(self) -> bool:
        ill = (Status.REFUSED, Status.UNREADABLE, Status.FAILED, Status.STILL_PROCESSED)
        return not any(self._counts[status] for status in ill)

    def tell(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        self._bytes += outcome.size_bytes
        if self._as_json:
            print_json_line(outcome.record(self._id_names))
        elif not outcome.is_well:
            print_problem(f"{outcome.path} is {outcome.status.replace('_', ' ')}: {outcome.reason}")

    def end(self, *, is_broken_off: bool) -> None:
        """Of what was told of; a run that is broken off says so."""
        if self._as_json:
            counts = {status.value: self._counts[status] for status in Status}
            print_json_line({"type": "summary", **counts, "bytes": self._bytes, "finished": not is_broken_off})
            return
        counted = [f"{self._counts[status]:,} {status.replace('_', ' ')}" for status in Status if self._counts[status]]
        took = seconds(0 if self._began is None else time.monotonic() - self._began)
        print_shown([f"{', '.join(counted) or 'No files'} ({decimal(self._bytes)} in {took})."])
        if is_broken_off:
            print_shown(["Broken off: the same command goes on."])


class _Shows(Protocol):
    def bytes_sent(self, count: int) -> None: ...
    def file_sent(self) -> None: ...
    def file_processed(self) -> None: ...


class _NoProgress:
    def bytes_sent(self, count: int) -> None:
        """Nobody looks."""

    def file_sent(self) -> None:
        """Nobody looks."""

    def file_processed(self) -> None:
        """Nobody looks."""


class _OfBytes(ProgressColumn):
    """A column of bars that count bytes; beside others it is empty."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return self._column.render(task) if task.fields["counts_bytes"] else ""


class _Bars:
    def __init__(self, progress: Progress, files: list[FoundFile], *, waits: bool) -> None:
        self._progress = progress
        total_bytes, total = sum(file.size_bytes for file in files), len(files)
        self._bytes = progress.add_task("sent", total=total_bytes, counts_bytes=True, files=f"0/{total}")
        self._processed = progress.add_task("processed", total=total, visible=False, counts_bytes=False, files="")
        self._sent_files, self._processed_files, self._total, self._waits = 0, 0, total, waits

    def bytes_sent(self, count: int) -> None:
        self._progress.advance(self._bytes, count)

    def file_sent(self) -> None:
        self._sent_files += 1
        self._progress.update(self._bytes, files=f"{self._sent_files}/{self._total}")
        if self._waits and self._sent_files == self._total:
            self._progress.update(self._processed, visible=True)

    def file_processed(self) -> None:
        self._processed_files += 1
        self._progress.update(self._processed, advance=1, files=f"{self._processed_files}/{self._total}")


@contextmanager
def _progress(files: list[FoundFile], *, waits: bool, is_quiet: bool) -> Iterator[_Shows]:
    console = console_on(is_error=False)
    if is_quiet or not console.is_terminal:
        yield _NoProgress()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        _OfBytes(DownloadColumn()),
        _OfBytes(TransferSpeedColumn()),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(progress, files, waits=waits)
