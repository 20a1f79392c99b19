"""Files on their way to the API: several at once, each sent once, until the last has an outcome."""

from __future__ import annotations

import io
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar
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
    """What became of one file: `ids` of what was made of it; `reason` says why where it did not go well."""

    path: Path
    status: Status
    size_bytes: int = 0
    ids: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    reason: str | None = None

    @property
    def is_well(self) -> bool:
        return self.status in IS_WELL

    def record(self, id_names: Sequence[str]) -> dict[str, Any]:
        """With these ids, null where there is none."""
        return {
            "type": "file",
            "path": os.fspath(self.path),
            "status": self.status.value,
            **{name: self.ids.get(name) for name in id_names},
            "error": None if self.reason is None else {"code": self.code, "detail": self.reason},
        }


class Sender(ABC):
    """Sends files. `on_bytes` is told how many went out; less than 0 where they go again."""

    id_names: ClassVar[Sequence[str]]
    """What outcomes name."""

    def __init__(
        self,
        session: Session,
        stop: threading.Event,
        on_bytes: Callable[[int], None],
        patience: Patience = PATIENCE,
    ) -> None:
        self._session = session
        self.stop = stop
        self._on_bytes = on_bytes
        self._patience = patience

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

    def processed(self, outcome: Outcome, deadline: float) -> Outcome:
        """The outcome once the API is done with it, or as it is at the deadline, a time of `time.monotonic`."""
        pause_seconds = FIRST_POLL_SECONDS
        while True:
            now = self._looked_at(outcome)
            if now.status is not Status.STILL_PROCESSED or time.monotonic() + pause_seconds > deadline:
                return now
            self.stop.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, LONGEST_POLL_SECONDS)

    @abstractmethod
    def _send(self, file: FoundFile) -> Outcome: ...

    @abstractmethod
    def _looked_at(self, outcome: Outcome) -> Outcome:
        """How one that was sent fares now."""

    def _known(self, file: FoundFile, ids: Mapping[str, str]) -> Outcome:
        """One that needs not be sent."""
        self._on_bytes(file.size_bytes)
        return Outcome(file.path, Status.ALREADY_SENT, file.size_bytes, ids)

    def _post(self, file: FoundFile, address: str, fields: Mapping[str, str], key: str | None = None) -> Any:
        """What the API says of the file, which is sent as often as it takes."""
        headers = None if key is None else {"Idempotency-Key": key}

        def post() -> Any:
            with _CountedFile(file.path, self.stop, self._on_bytes) as opened:
                try:
                    form = Form(fields, filename_of(file), opened)
                    return self._session.ask("POST", address, form=form, headers=headers).body
                except BaseException:
                    self._on_bytes(-opened.counted_bytes)
                    raise

        return patiently(post, self.stop, self._patience)

    def _found(self, path: str) -> Any:
        try:
            return patiently(lambda: self._session.ask("GET", path), self.stop, self._patience).body
        except Refused as refusal:
            if refusal.status == _NOT_FOUND:
                return None
            raise


def changed_meanwhile(outcome: Outcome) -> Outcome:
    """What was sent is perhaps neither what the file was nor what it is."""
    reason = "the file was changed while it was sent: send it again when it is finished"
    return replace(outcome, status=Status.UNREADABLE, reason=reason)


def filename_of(file: FoundFile) -> str:
    """A name that is no UTF-8 can't be said in a form."""
    return os.fsencode(file.path.name).decode("utf-8", "replace")


class Uploader(Sender):
    """Sends files with these text fields to become media."""

    id_names = ("jobId", "mediaId")

    def __init__(
        self,
        session: Session,
        stop: threading.Event,
        on_bytes: Callable[[int], None],
        journal: UploadJournal,
        fields: Mapping[str, str],
        *,
        sends_again: bool = False,
    ) -> None:
        super().__init__(session, stop, on_bytes)
        self._journal = journal
        self._fields = fields
        self._sends_again = sends_again

    def _send(self, file: FoundFile) -> Outcome:
        sha256 = content_sha256(file.path)
        filename = filename_of(file)
        known_by = idempotency_key(sha256, filename, self._fields)
        sent = None if self._sends_again else self._journal.find(known_by)
        if sent is not None and self._found(f"{UPLOADS}/{sent.media_id}") is not None:
            return self._known(file, {"jobId": sent.job_id, "mediaId": sent.media_id})
        instead_of = str(uuid4()) if self._sends_again else (sent.media_id if sent else None)
        key = idempotency_key(sha256, filename, self._fields, instead_of=instead_of)
        told = self._post(file, UPLOADS, self._fields, key)
        ids = {"jobId": str(told["jobId"]), "mediaId": str(told["mediaId"])}
        outcome = Outcome(file.path, Status.SENT, file.size_bytes, ids)
        if not file.is_unchanged():
            return changed_meanwhile(outcome)
        self._journal.add(known_by, ids["jobId"], ids["mediaId"])
        return outcome

    def _looked_at(self, outcome: Outcome) -> Outcome:
        job = self._found(f"{JOBS}/{outcome.ids['jobId']}")
        # Jobs are removed after their time, and media stay.
        if job is None or job["status"] == "completed":
            return replace(outcome, status=Status.COMPLETED)
        if job["status"] == "failed":
            error = job["error"] or {}
            return replace(outcome, status=Status.FAILED, code=error.get("code"), reason=str(error.get("detail")))
        reason = f"its job is {job['status']}; `mediabus jobs watch {outcome.ids['jobId']}` waits on"
        return replace(outcome, status=Status.STILL_PROCESSED, reason=reason)


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
