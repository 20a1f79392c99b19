"""`mediabus upload`: pictures in, from files and folders."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Protocol

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
from deploy.cli.profile import state_folder
from deploy.cli.session import MOST_CONNECTIONS, Session, signed_in
from deploy.cli.upload_journal import UploadJournal
from deploy.cli.upload_plan import FoundFile, found_files
from deploy.cli.uploading import Outcome, Status, Uploader, in_parallel

DEFAULT_PARALLEL: Final = 4
INTERRUPTED: Final = 130


class Strategy(StrEnum):
    LOCAL_ONLY = "local_only"
    LOCAL_FIRST = "local_first"
    S3_ONLY = "s3_only"
    BOTH = "both"


def upload(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files, and folders with all below them.")
    ],
    entity_type: Annotated[str, typer.Option(help="What kind of thing the pictures belong to, such as product.")],
    entity_id: Annotated[str | None, typer.Option(help="Which one of them.")] = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Where they are stored; else as the settings say.")] = None,
    every_type: Annotated[
        bool, typer.Option("--all", help="Of folders all files that are not hidden; else pictures.")
    ] = False,
    parallel: Annotated[int, typer.Option(min=1, max=MOST_CONNECTIONS, help="So many at once.")] = DEFAULT_PARALLEL,
    wait: Annotated[bool, typer.Option("--wait", help="Until all are processed.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that --wait waits behind the last file.")] = 3600,
    again: Annotated[
        bool, typer.Option("--again", help="Send also what was sent before: it becomes media of its own.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each file as it ends, then one for them all.")
    ] = False,
) -> None:
    """Upload pictures.

    The same command goes on where one was broken off: what was sent is not sent again while its medium is there, though
    it was moved or lies twice. Files that are refused are told of and don't stop the others: the exit code is then 4.
    """
    fields = {"entityType": entity_type, "entityId": entity_id, "storageStrategy": strategy and strategy.value}
    report = _Report(as_json=as_json)
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
            _journal(session) as journal,
            _progress(files, waits=wait, is_quiet=as_json) as progress,
        ):
            report.begin()
            said = {name: value for name, value in fields.items() if value}
            uploader = Uploader(session, journal, said, stop, progress.bytes_sent, sends_again=again)
            _run(uploader, files, parallel, timeout if wait else None, progress, report)
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
    uploader: Uploader,
    files: list[FoundFile],
    parallel: int,
    timeout_seconds: float | None,
    progress: _Shows,
    report: _Report,
) -> None:
    # What became of files and is not told of yet: with `--wait` that they were sent, until they are processed.
    ended: dict[Path, Outcome] = {}

    def send(file: FoundFile) -> Outcome:
        return ended.setdefault(file.path, uploader.send(file))

    try:
        taken: list[Outcome] = []
        for outcome in in_parallel(send, files, parallel, uploader.stop):
            progress.file_sent()
            if timeout_seconds is not None and outcome.is_well:
                taken.append(outcome)
            else:
                report.tell(ended.pop(outcome.path))
        if timeout_seconds is not None:
            deadline = time.monotonic() + timeout_seconds
            waiting = in_parallel(lambda one: uploader.processed(one, deadline), taken, parallel, uploader.stop)
            for outcome in waiting:
                progress.file_processed()
                del ended[outcome.path]
                report.tell(outcome)
    finally:
        # Of a run that is broken off.
        for outcome in ended.values():
            report.tell(outcome)


def _journal(session: Session) -> UploadJournal:
    account = session.ask("GET", "/api/auth/me").body["user"]["id"]
    return UploadJournal(state_folder(os.environ), session.address, account)


class _Report:
    """Tells of outcomes as they come, and of all in the end."""

    def __init__(self, *, as_json: bool) -> None:
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
            print_json_line(outcome.record())
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
