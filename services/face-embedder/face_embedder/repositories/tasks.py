"""Syncs of events, and the photos they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from face_embedder.layout import Folder
from face_embedder.photos import Photo
from face_embedder.tasks import Task
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import FaceSyncStatus

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "tasks.sql")
CHANNEL: Final = "tasks_faces"
"""NOTIFY channels are per database, so the schema's name is part of it."""
TELL_EVERY_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """How many photos a part of a listing brought: `revived` were skipped before and are new after all."""

    new: int = 0
    skipped: int = 0
    revived: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a photo that is done adds to the counts of the tasks that wait for it."""

    processed: int = 0
    failed: int = 0
    no_face: int = 0
    previews_made: int = 0


class Tasks:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, task_id: UUID, event_id: UUID, s3_prefix: str) -> Task | None:
        """The task, due at once; None if it was there already."""
        task = await self._one("add", task_id, event_id, s3_prefix)
        await self._connection.execute(QUERIES["wake"])
        return task

    # --- the listing ------------------------------------------------------------------------------------------------

    async def claim(self, hold_seconds: float) -> Task | None:
        """A task whose listing should go on, held for so long; None if there is none."""
        return await self._one("claim", hold_seconds)

    async def put_off(self, task_id: UUID, seconds: float) -> None:
        """Let nobody take the task before so much time has passed."""
        await self._connection.execute(QUERIES["put_off"], task_id, seconds)

    async def advance(self, task: Task, cursor: str, found: Found) -> Task | None:
        """The task behind this key; None where somebody else has gone on with it."""
        return await self._one(
            "advance",
            task.task_id,
            task.folder.value,
            task.cursor,
            cursor,
            found.new,
            found.skipped,
            found.revived,
        )

    async def next_folder(self, task_id: UUID) -> Task | None:
        return await self._one("next_folder", task_id)

    async def end_listing(self, task: Task) -> Task | None:
        return await self._one("end_listing", task.task_id, task.cursor)

    async def complete(self, task_id: UUID, message: str) -> Task:
        task = await self._one("complete", task_id, message)
        assert task is not None, "the task's row is gone while it is locked"
        return task

    async def fail(self, task_id: UUID, message: str) -> Task | None:
        return await self._one("fail", task_id, message)

    async def note_failure(self, task_id: UUID, again_after_seconds: float) -> Task | None:
        return await self._one("note_failure", task_id, again_after_seconds)

    # --- photos of a task -------------------------------------------------------------------------------------------

    async def skip(self, task_id: UUID, photos: Sequence[Photo], has_original: Sequence[bool]) -> Found:
        """Note photos for which there is nothing to do."""
        if not photos:
            return Found()
        rows = await self._connection.fetch(
            QUERIES["skip"], task_id, [p.photo_id for p in photos], [p.generation for p in photos], has_original
        )
        return Found(skipped=sum(row["is_new"] for row in rows))

    async def wait_for(self, task_id: UUID, photos: Sequence[Photo], *, has_original: bool) -> Found:
        """Note photos that are done when their contents of now are."""
        if not photos:
            return Found()
        rows = await self._connection.fetch(
            QUERIES["await"], task_id, [p.photo_id for p in photos], [p.generation for p in photos], has_original
        )
        new = sum(row["is_new"] for row in rows)
        return Found(new=new, revived=len(rows) - new)

    async def lock_without_original(self, task_id: UUID) -> list[UUID]:
        """Photos of the task whose original was there before and is not any more."""
        return [row["photo_id"] for row in await self._connection.fetch(QUERIES["without_original"], task_id)]

    async def settle(self, photo: Photo, outcome: Outcome) -> list[tuple[Task, bool]]:
        """The tasks that waited for this content of a photo, or an older one, and wait for it no more.

        Each with what came of it, and whether it is time to tell of the task.
        """
        rows = await self._connection.fetch(
            QUERIES["settle"],
            photo.photo_id,
            photo.generation,
            outcome.processed,
            outcome.failed,
            outcome.no_face,
            outcome.previews_made,
            TELL_EVERY_SECONDS,
        )
        return [(_task(row), row["is_told"]) for row in sorted(rows, key=lambda row: row["task_id"])]

    async def prune(self, kept_seconds: float, limit: int) -> int:
        """Forget at most `limit` that ended so long ago; how many."""
        return affected_rows(await self._connection.execute(QUERIES["prune"], kept_seconds, limit))

    async def _one(self, query: str, *arguments: object) -> Task | None:
        row = await self._connection.fetchrow(QUERIES[query], *arguments)
        return _task(row) if row else None


def _task(row: Mapping[str, Any]) -> Task:
    return Task(
        task_id=row["task_id"],
        event_id=row["event_id"],
        s3_prefix=row["s3_prefix"],
        status=FaceSyncStatus(row["status"]),
        version=row["version"],
        folder=Folder(row["folder"]),
        cursor=row["cursor"],
        listing_failures=row["listing_failures"],
        total_found=row["total_found"],
        new_photos=row["new_photos"],
        skipped=row["skipped"],
        processed=row["processed"],
        failed=row["failed"],
        no_face=row["no_face"],
        originals_missing=row["originals_missing"],
        previews_made=row["previews_made"],
        message=row["message"],
        changed_at=row["changed_at"],
    )
