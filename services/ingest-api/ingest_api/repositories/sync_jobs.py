"""Storage jobs and their results, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from ingest_api.catalogue import MediaStatus
from ingest_api.media_filters import MediaFilter, read_filter
from ingest_api.repositories.matching import Matched, MatchedPage, MatchingRepository
from ingest_api.sync_jobs import RESULTS_KEPT, ChildSums, KeptResult, Profile, SyncJob, assembled, counted
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.events import StartSyncJobV1, SyncJobChangedV1, SyncJobStatus, SyncOperation

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "sync_jobs.sql")


NOT_STORED: Final[tuple[MediaStatus, ...]] = ("processing", "failed")
"""Media of which there are no files yet, or none at all."""


@dataclass(frozen=True, slots=True)
class SelectionInHand:
    """Media that are handed over to s3-syncer, up to `cursor`; `command` starts the job when all of them are."""

    matched: Matched
    cursor: UUID | None
    selected: int
    command: StartSyncJobV1


class SyncJobRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def unknown_media(self, media_ids: Sequence[UUID]) -> list[UUID]:
        """Those of the ids that no medium of the catalogue has, in their order."""
        return [row["id"] for row in await self._connection.fetch(QUERIES["unknown_media"], list(media_ids))]

    async def add(self, command: StartSyncJobV1, total_files: int, profile: Profile) -> None:
        """The job as it waits for s3-syncer to tell of it."""
        rename_from, rename_to = command.rename_prefix or (None, None)
        await self._connection.execute(
            QUERIES["add"],
            command.job_id,
            command.operation,
            total_files,
            command.retry_of,
            command.requested_by,
            command.delete_source,
            rename_from,
            rename_to,
            profile,
            command.requested_at,
        )

    async def add_selection(self, command: StartSyncJobV1, wanted: MediaFilter, matched_at: datetime) -> None:
        """Media that are handed over before the command is sent."""
        await self._connection.execute(
            QUERIES["add_selection"], command.job_id, wanted.asked(), matched_at, command.model_dump(mode="json")
        )

    async def lock_selection(self) -> SelectionInHand | None:
        """The one that has got least and is in no other hands, locked until the transaction ends."""
        row = await self._connection.fetchrow(QUERIES["lock_selection"])
        return None if row is None else _selection(row)

    async def selection_page(self, selection: SelectionInHand, limit: int) -> MatchedPage:
        return await MatchingRepository(self._connection).page(selection.matched, selection.cursor, limit)

    async def move_selection(self, job_id: UUID, cursor: UUID, selected: int) -> None:
        """So many more are handed over, and `cursor` is the last one that was looked at."""
        await self._connection.execute(QUERIES["move_selection"], job_id, cursor, selected)

    async def end_selection(self, job_id: UUID) -> SelectionInHand | None:
        """Forget it and give it back; None unless media of the job are being handed over."""
        row = await self._connection.fetchrow(QUERIES["end_selection"], job_id)
        return None if row is None else _selection(row)

    async def lock(self, job_id: UUID) -> None:
        """Keep others from recording facts of this job, or of its children, until the transaction ends."""
        await self._connection.execute(QUERIES["lock"], job_id)

    async def record(self, event: SyncJobChangedV1) -> bool:
        """Whether the fact is newer than what was known; its results are kept either way, for each is told once."""
        recorded = await self._connection.fetchval(
            QUERIES["record"],
            event.job_id,
            event.parent_job_id,
            event.is_parent,
            event.batch_index,
            event.batch_size,
            event.version,
            event.operation,
            event.status,
            event.total_files,
            event.processed_files,
            event.failed_files,
            event.total_bytes,
            event.moved_bytes,
            event.error,
            event.retry_of,
            event.requested_by,
            event.created_at,
            event.started_at,
            event.finished_at,
        )
        if event.recent_results:
            root_id = event.parent_job_id or event.job_id
            results = [result.model_dump(mode="json") for result in event.recent_results]
            await self._connection.execute(QUERIES["add_results"], root_id, event.job_id, results)
            await self._connection.execute(QUERIES["prune_results"], root_id, RESULTS_KEPT)
        return bool(recorded)

    async def claim_telling(self, job_id: UUID, every_seconds: float) -> bool:
        """Whether the requester is to be told now; then it counts as told."""
        return bool(await self._connection.fetchval(QUERIES["claim_telling"], job_id, every_seconds))

    async def get(self, job_id: UUID, *, children: int = 0, behind: int | None = None) -> SyncJob | None:
        """The job with its first children, or the first behind a batch index."""
        jobs = await self._families([job_id], children, behind)
        return next((job for job in jobs if job.id == job_id), None)

    async def newest(self, after: UUID | None, limit: int, *, children: int) -> list[SyncJob]:
        """Jobs that somebody asked for with their first children, newest first."""
        ids = [row["id"] for row in await self._connection.fetch(QUERIES["newest"], after, limit)]
        return await self._families(ids, children, None)

    async def _families(self, job_ids: Sequence[UUID], children: int, behind: int | None) -> list[SyncJob]:
        first = -1 if behind is None else behind
        return assembled(map(_job, await self._connection.fetch(QUERIES["families"], list(job_ids), first, children)))

    async def results(self, job: SyncJob, limit: int) -> list[KeptResult]:
        """Failures first, then the newest."""
        root_id, child_id = (job.id, None) if job.parent_job_id is None else (job.parent_job_id, job.id)
        rows = await self._connection.fetch(QUERIES["results"], root_id, child_id, limit)
        return [KeptResult(**row) for row in rows]

    async def results_of_many(self, job_ids: Sequence[UUID], limit_each: int) -> dict[UUID, list[KeptResult]]:
        found: dict[UUID, list[KeptResult]] = {job_id: [] for job_id in job_ids}
        for row in await self._connection.fetch(QUERIES["results_of_many"], list(job_ids), limit_each):
            result = dict(row)
            found[result.pop("root_job_id")].append(KeptResult(**result))
        return found

    async def remove_finished(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` jobs, each with its children and results, and say how many."""
        return len(await self._connection.fetch(QUERIES["remove_finished"], older_than_seconds, limit))


def _job(row: asyncpg.Record) -> SyncJob:
    stored = dict(row)
    sums = ChildSums(**{field.name: stored.pop(f"sum_{field.name}") for field in fields(ChildSums)})
    rename_from, rename_to = stored.pop("rename_from"), stored.pop("rename_to")
    stored["rename_prefix"] = None if rename_from is None else (rename_from, rename_to)
    stored["operation"] = SyncOperation(stored["operation"])
    stored["status"] = SyncJobStatus(stored["status"])
    return counted(SyncJob(**stored), sums)


def _selection(row: asyncpg.Record) -> SelectionInHand:
    matched = Matched(read_filter(row["matching"]), NOT_STORED, row["job_id"], row["matched_at"])
    command = StartSyncJobV1.model_validate(row["command"])
    return SelectionInHand(matched, row["cursor"], row["selected"], command)
