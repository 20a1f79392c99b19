"""Syncs of events' photos, as face-embedder tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from ingest_api.face_sync import FINAL, FaceSync
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import FaceSyncChangedV1, FaceSyncStatus, SyncEventPhotosV1

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "face_syncs.sql")

WAITING = "The sync waits for its turn."


class FaceSyncRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(self, command: SyncEventPhotosV1, watcher: UUID) -> FaceSync:
        """The sync as it waits for face-embedder to tell of it."""
        await self._connection.execute(
            QUERIES["add"],
            command.task_id,
            command.event_id,
            command.s3_prefix,
            WAITING,
            command.requested_at,
            [watcher],
        )
        added = await self.get(command.task_id)
        assert added is not None
        return added

    async def join_running(self, event_id: UUID, watcher: UUID) -> FaceSync | None:
        """The sync of the event that runs, of which the watcher is told from now on too."""
        running = await self._connection.fetchval(QUERIES["join_running"], event_id, watcher)
        return None if running is None else await self.get(running)

    async def get(self, task_id: UUID) -> FaceSync | None:
        row = await self._connection.fetchrow(QUERIES["get"], task_id)
        return None if row is None else _sync(row)

    async def newest_of_event(self, event_id: UUID) -> FaceSync | None:
        """The sync that runs, or the last one; None where there was none, or all are forgotten."""
        newest = await self._connection.fetchval(QUERIES["newest_of_event"], event_id)
        return None if newest is None else await self.get(newest)

    async def record(self, event: FaceSyncChangedV1) -> bool:
        """Whether the fact is newer than what was known of the sync."""
        recorded = await self._connection.fetchval(
            QUERIES["record"],
            event.task_id,
            event.version,
            event.status.value,
            event.total_found,
            event.new_photos,
            event.skipped,
            event.processed,
            event.failed,
            event.no_face,
            event.originals_missing,
            event.previews_made,
            event.message,
            event.changed_at,
            event.status in FINAL,
        )
        return bool(recorded)

    async def claim_telling(self, task_id: UUID, every_seconds: float) -> bool:
        """Whether those who asked are to be told now; then it counts as told."""
        return bool(await self._connection.fetchval(QUERIES["claim_telling"], task_id, every_seconds))

    async def give_up_silent(self, event_id: UUID | None, silence_seconds: float, message: str) -> list[FaceSync]:
        """Those of which nothing was heard for so long, as they are now: failed."""
        rows = await self._connection.fetch(QUERIES["give_up_silent"], event_id, silence_seconds, message)
        found = [await self.get(row["id"]) for row in rows]
        return [sync for sync in found if sync is not None]

    async def remove_finished(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit`, and say how many."""
        return len(await self._connection.fetch(QUERIES["remove_finished"], older_than_seconds, limit))


def _sync(row: Mapping[str, Any]) -> FaceSync:
    values = dict(row)
    return FaceSync(**values | {"status": FaceSyncStatus(values["status"]), "watchers": tuple(values["watchers"])})
