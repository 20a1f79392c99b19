"""`mediabus events upload`: photos of an event, from files and folders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from deploy.cli.session import Session
from deploy.cli.upload_plan import FoundFile, content_sha256
from deploy.cli.upload_run import (
    DEFAULT_PARALLEL,
    DEFAULT_WAIT_SECONDS,
    AsLines,
    EveryType,
    MakeSender,
    Parallel,
    Paths,
    Timeout,
    Wait,
    run_uploads,
)
from deploy.cli.uploading import Outcome, Sender, Status, changed_meanwhile

_SHA256: Final = "sha256"


def upload_photos(
    event: Annotated[UUID, typer.Argument(metavar="EVENT", help="The UUID of an event.")],
    paths: Paths,
    every_type: EveryType = False,
    parallel: Parallel = DEFAULT_PARALLEL,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_WAIT_SECONDS,
    as_json: AsLines = False,
) -> None:
    """Upload photos to an event; they are looked at without a sync.

    The same command goes on where one was broken off: what the event has is not sent again, whatever it is called. A
    photo whose name is taken gets a similar one. Files that are refused are told of and don't stop the others: the exit
    code is then 4.
    """

    @contextmanager
    def opened(session: Session) -> Iterator[MakeSender]:
        # A wrong event is wrong for every file.
        session.ask("GET", f"/api/v1/events/{event}")
        yield lambda stop, on_bytes: PhotoUploader(session, stop, on_bytes, event)

    run_uploads(
        paths,
        PhotoUploader.id_names,
        opened,
        every_type=every_type,
        parallel=parallel,
        wait_seconds=timeout if wait else None,
        as_json=as_json,
    )


class PhotoUploader(Sender):
    """Sends files to become photos of an event. What the event has is known by its content, here and elsewhere.

    What has been no photo for too long is sent all the same: by that it is looked at once more.
    """

    id_names = ("imageKey", _SHA256)

    def __init__(
        self, session: Session, stop: threading.Event, on_bytes: Callable[[int], None], event_id: UUID
    ) -> None:
        super().__init__(session, stop, on_bytes)
        self._photos = f"/api/v1/events/{event_id}/photos"

    def _send(self, file: FoundFile) -> Outcome:
        sha256 = content_sha256(file.path)
        known = self._known_by(sha256)
        if known is not None and not known["is_overdue"]:
            return self._known(file, _ids(known["upload"]))
        told = self._post(file, self._photos, {_SHA256: sha256})
        status = Status.SENT if told["status"] == "stored" else Status.ALREADY_SENT
        outcome = Outcome(file.path, status, file.size_bytes, _ids(told))
        return outcome if file.is_unchanged() else changed_meanwhile(outcome)

    def _looked_at(self, outcome: Outcome) -> Outcome:
        known = self._known_by(outcome.ids[_SHA256])
        photo = known and known["photo"]
        if photo is not None and photo["status"] == "failed":
            return replace(outcome, status=Status.FAILED, code=photo["code"], reason=str(photo["detail"]))
        # One that was deleted meanwhile is nobody's any more.
        if known is None or (photo is not None and photo["status"] != "pending"):
            return replace(outcome, status=Status.COMPLETED)
        return replace(outcome, status=Status.STILL_PROCESSED, reason="nobody has looked at it yet")

    def _known_by(self, sha256: str) -> Any:
        return self._found(f"{self._photos}/by-sha256/{sha256}")


def _ids(upload: Any) -> dict[str, str]:
    return {"imageKey": str(upload["image_key"]), _SHA256: str(upload[_SHA256])}
