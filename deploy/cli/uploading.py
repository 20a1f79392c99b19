"""Files on their way to the API: several at once, each sent once, until the last has an outcome."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

from deploy.cli.patience import PATIENCE, Interrupted, Patience, patiently
from deploy.cli.problems import NotReached, Refused
from deploy.cli.session import Form, Session
from deploy.cli.upload_journal import UploadJournal
from deploy.cli.upload_plan import FoundFile, content_sha256, idempotency_key

T = TypeVar("T")
R = TypeVar("R")

UPLOADS: Final = "/api/admin/media"
JOBS: Final = "/api/admin/media/jobs"
FIRST_POLL_SECONDS: Final = 0.1
LONGEST_POLL_SECONDS: Final = 2.0
_NOT_FOUND: Final = 404
_OF_ONE_FILE: Final = frozenset({400, 403, 413, 415, 422})
"""Refusals by a proxy that may concern what was sent, not who sends it."""


class Status(StrEnum):
    SENT = "sent"
    ALREADY_SENT = "already_sent"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    COMPLETED = "completed"
    FAILED = "failed"
    STILL_PROCESSED = "still_processed"


IS_WELL: Final = frozenset({Status.SENT, Status.ALREADY_SENT, Status.COMPLETED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file; `reason` says why where it did not go well."""

    path: Path
    status: Status
    size_bytes: int = 0
    job_id: str | None = None
    media_id: str | None = None
    code: str | None = None
    reason: str | None = None

    @property
    def is_well(self) -> bool:
        return self.status in IS_WELL

    def record(self) -> dict[str, Any]:
        return {
            "type": "file",
            "path": os.fspath(self.path),
            "status": self.status.value,
            "jobId": self.job_id,
            "mediaId": self.media_id,
            "error": None if self.reason is None else {"code": self.code, "detail": self.reason},
        }


@dataclass(frozen=True, slots=True)
class Uploader:
    """Sends files with these text fields. `on_bytes` is told how many went out; less than 0 where they go again."""

    session: Session
    journal: UploadJournal
    fields: Mapping[str, str]
    stop: threading.Event
    on_bytes: Callable[[int], None]
    sends_again: bool = False
    patience: Patience = PATIENCE

    def send(self, file: FoundFile) -> Outcome:
        """Raises NotReached where the API is gone, and Interrupted."""
        try:
            return self._send(file)
        except OSError as error:
            return Outcome(file.path, Status.UNREADABLE, reason=error.strerror or str(error))
        except Refused as refusal:
            reason = " ".join(line if line.endswith((".", "?")) else f"{line}." for line in refusal.lines)
            return Outcome(file.path, Status.REFUSED, file.size_bytes, code=refusal.code, reason=reason)
        except NotReached as error:
            # A proxy has limits of its own; one file that goes beyond must not stop the others.
            if error.refused_with not in _OF_ONE_FILE:
                raise
            return Outcome(file.path, Status.REFUSED, file.size_bytes, reason=str(error))

    def _send(self, file: FoundFile) -> Outcome:
        sha256 = content_sha256(file.path)
        # A name that is no UTF-8 can't be said in a form.
        filename = os.fsencode(file.path.name).decode("utf-8", "replace")
        known_by = idempotency_key(sha256, filename, self.fields)
        sent = None if self.sends_again else self.journal.find(known_by)
        if sent is not None and self._is_there(sent.media_id):
            self.on_bytes(file.size_bytes)
            return Outcome(file.path, Status.ALREADY_SENT, file.size_bytes, sent.job_id, sent.media_id)
        instead_of = str(uuid4()) if self.sends_again else (sent.media_id if sent else None)
        key = idempotency_key(sha256, filename, self.fields, instead_of=instead_of)
        told = patiently(lambda: self._post(file.path, filename, key), self.stop, self.patience)
        outcome = Outcome(file.path, Status.SENT, file.size_bytes, str(told["jobId"]), str(told["mediaId"]))
        if not file.is_unchanged():
            reason = "the file was changed while it was sent: send it again when it is finished"
            return replace(outcome, status=Status.UNREADABLE, reason=reason)
        self.journal.add(known_by, str(told["jobId"]), str(told["mediaId"]))
        return outcome

    def _post(self, path: Path, filename: str, key: str) -> Any:
        with _CountedFile(path, self.stop, self.on_bytes) as opened:
            try:
                form = Form(self.fields, filename, opened)
                return self.session.ask("POST", UPLOADS, form=form, headers={"Idempotency-Key": key}).body
            except BaseException:
                self.on_bytes(-opened.counted_bytes)
                raise

    def _is_there(self, media_id: str) -> bool:
        return self._found(f"{UPLOADS}/{media_id}") is not None

    def processed(self, outcome: Outcome, deadline: float) -> Outcome:
        """The outcome once its job has ended, or as it is at the deadline, a time of `time.monotonic`."""
        pause_seconds = FIRST_POLL_SECONDS
        while True:
            job = self._found(f"{JOBS}/{outcome.job_id}")
            # Jobs are removed after their time, and media stay.
            if job is None or job["status"] == "completed":
                return replace(outcome, status=Status.COMPLETED)
            if job["status"] == "failed":
                error = job["error"] or {}
                return replace(outcome, status=Status.FAILED, code=error.get("code"), reason=str(error.get("detail")))
            if time.monotonic() + pause_seconds > deadline:
                reason = f"its job is {job['status']}; `mediabus jobs watch {outcome.job_id}` waits on"
                return replace(outcome, status=Status.STILL_PROCESSED, reason=reason)
            self.stop.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, LONGEST_POLL_SECONDS)

    def _found(self, path: str) -> Any:
        try:
            return patiently(lambda: self.session.ask("GET", path), self.stop, self.patience).body
        except Refused as refusal:
            if refusal.status == _NOT_FOUND:
                return None
            raise


def in_parallel(work: Callable[[T], R], items: Iterable[T], workers: int, stop: threading.Event) -> Iterator[R]:
    """Results as they come, few items ahead. What fails, and Ctrl-C, sets `stop` and ends with those under way.

    Once something has failed no further item is begun, and it is what is raised.
    """
    waiting = iter(items)
    failures: list[Exception] = []

    def begin(item: T) -> R:
        if stop.is_set():
            raise Interrupted
        try:
            return work(item)
        except Interrupted:
            raise
        except Exception as error:
            failures.append(error)
            # Here: this thread takes the next item before anybody hears of the failure.
            stop.set()
            raise

    with ThreadPoolExecutor(workers, thread_name_prefix="upload") as pool:
        futures: set[Future[R]] = {pool.submit(begin, item) for item in islice(waiting, 2 * workers)}
        try:
            while futures:
                done, futures = wait(futures, return_when=FIRST_COMPLETED)
                futures |= {pool.submit(begin, item) for item in islice(waiting, len(done))}
                for future in done:
                    yield future.result()
        except BaseException as error:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, Interrupted) and failures:
                raise failures[0] from None
            raise


class _CountedFile(io.FileIO):
    """Says how much of it was read, and ends the reading when nobody wants it any more."""

    def __init__(self, path: Path, stop: threading.Event, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path)
        self._stop = stop
        self._on_bytes = on_bytes
        self.counted_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        if self._stop.is_set():
            raise Interrupted
        content = super().read(-1 if size is None else size) or b""
        self.counted_bytes += len(content)
        self._on_bytes(len(content))
        return content
