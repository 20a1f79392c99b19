"""What s3-syncer keeps in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from s3_syncer.jobs import Job, Medium, Outcome, Removal
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import MediaFilter, StoredFile, SyncJobStatus, SyncOperation, SyncResult

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


@dataclass(frozen=True, slots=True)
class Selected:
    """One medium of a selection; `size_bytes` is None when it is not known."""

    media_id: UUID
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class FailedCopy:
    """How a local_first copy stands after a further failure."""

    attempts: int
    is_given_up: bool


@dataclass(frozen=True, slots=True)
class CopiesWaiting:
    """The local_first queue: how many wait, for how long the oldest has, and how many were given up."""

    waiting: int
    oldest_seconds: float
    given_up: int


class SyncRepository:
    """The only reader and writer of this service's tables, inside the caller's transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    # --- media ----------------------------------------------------------------------------------------------------

    async def know_entity(self, media_id: UUID, entity_type: str, entity_id: str | None) -> None:
        await self._connection.execute(QUERIES["know_entity"], media_id, entity_type, entity_id)

    async def know_files(self, medium: Medium) -> None:
        """Take over where a newly processed revision is; an older or the same one changes nothing."""
        await self._connection.execute(
            QUERIES["know_files"],
            medium.media_id,
            medium.revision,
            _files_json(medium.files),
            _size_bytes(medium.files),
            medium.on_disk,
            medium.in_bucket,
        )

    # --- selections -----------------------------------------------------------------------------------------------

    async def select_ids(self, ids: Sequence[UUID]) -> list[Selected]:
        """The given ids in their order."""
        rows = await self._connection.fetch(QUERIES["known_media"], list(ids))
        known = {row["media_id"]: row["size_bytes"] for row in rows}
        return [Selected(media_id, known.get(media_id)) for media_id in ids]

    async def count_filtered(self, wanted: MediaFilter) -> int:
        return int(await self._connection.fetchval(QUERIES["count_filtered"], *_filter_arguments(wanted)))

    async def filtered_page(self, wanted: MediaFilter, cursor: UUID | None, size: int) -> list[Selected]:
        rows = await self._connection.fetch(QUERIES["filtered_page"], *_filter_arguments(wanted), cursor, size)
        return [Selected(row["media_id"], row["size_bytes"]) for row in rows]

    async def count_failed(self, job_id: UUID) -> int:
        return int(await self._connection.fetchval(QUERIES["count_failed"], job_id))

    async def failed_page(self, job_id: UUID, cursor: UUID | None, size: int) -> list[Selected]:
        rows = await self._connection.fetch(QUERIES["failed_page"], job_id, cursor, size)
        return [Selected(row["media_id"], row["size_bytes"] if row["is_known"] else None) for row in rows]

    async def select_media(self, job_id: UUID, media_ids: Sequence[UUID]) -> None:
        """Note media for a job that has not begun."""
        await self._connection.execute(QUERIES["select_media"], job_id, list(media_ids))

    async def count_selected(self, job_id: UUID) -> int:
        return int(await self._connection.fetchval(QUERIES["count_selected"], job_id))

    async def selected_page(self, job_id: UUID, cursor: UUID | None, size: int) -> list[Selected]:
        rows = await self._connection.fetch(QUERIES["selected_page"], job_id, cursor or UUID(int=0), size)
        return [Selected(row["media_id"], row["size_bytes"] if row["is_known"] else None) for row in rows]

    async def forget_selected(self, job_id: UUID, limit: int) -> int:
        """Remove at most `limit`, and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["forget_selected"], job_id, limit))

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def job(self, job_id: UUID) -> Job | None:
        return _job_or_none(await self._connection.fetchrow(QUERIES["job"], job_id))

    async def locked_job(self, job_id: UUID) -> Job | None:
        return _job_or_none(await self._connection.fetchrow(QUERIES["locked_job"], job_id))

    async def make_job(
        self,
        job_id: UUID,
        *,
        operation: SyncOperation,
        status: SyncJobStatus,
        requested_by: UUID,
        total_files: int,
        parent_job_id: UUID | None = None,
        is_parent: bool = False,
        batch_index: int | None = None,
        batch_size: int | None = None,
        delete_source: bool = False,
        rename_prefix: tuple[str, str] | None = None,
        failed_files: int = 0,
        total_bytes: int = 0,
        error: str | None = None,
        retry_of: UUID | None = None,
        planned: bool = True,
    ) -> Job:
        row = await self._connection.fetchrow(
            QUERIES["make_job"],
            job_id,
            parent_job_id,
            is_parent,
            batch_index,
            batch_size,
            operation.value,
            status.value,
            delete_source,
            list(rename_prefix) if rename_prefix else None,
            total_files,
            failed_files,
            total_bytes,
            error,
            retry_of,
            requested_by,
            planned,
        )
        return _job(row)

    async def make_items(self, job_id: UUID, pending: Sequence[UUID], failed: Sequence[SyncResult]) -> None:
        items = [{"media_id": str(media_id), "status": "pending"} for media_id in pending]
        items += [_result_json(result) for result in failed]
        await self._connection.execute(QUERIES["make_items"], job_id, items)

    async def note_child(self, parent: Job, cursor: UUID, *, files: int, failed: int, total_bytes: int) -> Job:
        return _job(
            await self._connection.fetchrow(QUERIES["note_child"], parent.job_id, cursor, files, failed, total_bytes)
        )

    async def end_plan(self, job_id: UUID) -> Job:
        return _job(await self._connection.fetchrow(QUERIES["end_plan"], job_id))

    async def start_job(self, job_id: UUID) -> Job | None:
        """The job, now active; None when it was started before."""
        return _job_or_none(await self._connection.fetchrow(QUERIES["start_job"], job_id))

    async def add_results(self, job_id: UUID, results: Sequence[SyncResult]) -> Job:
        failed = sum(result.status == "failed" for result in results)
        moved_bytes = sum(result.bytes_moved for result in results)
        return _job(
            await self._connection.fetchrow(QUERIES["add_results"], job_id, len(results) - failed, failed, moved_bytes)
        )

    async def end_job(self, job_id: UUID, status: SyncJobStatus, error: str | None = None) -> Job | None:
        """The job in its final state; None when it had ended before."""
        return _job_or_none(await self._connection.fetchrow(QUERIES["end_job"], job_id, status.value, error))

    async def count_ended_child(self, parent_job_id: UUID) -> Job:
        return _job(await self._connection.fetchrow(QUERIES["count_ended_child"], parent_job_id))

    async def cancel_job(self, job_id: UUID) -> None:
        await self._connection.execute(QUERIES["cancel_job"], job_id)

    async def cancel_children(self, parent_job_id: UUID) -> None:
        await self._connection.execute(QUERIES["cancel_children"], parent_job_id)

    async def lock_cancelled(self, job_id: UUID, cursor: UUID | None, limit: int) -> list[Job]:
        """The job itself unless it is a parent, or its children: what is cancelled and has not ended."""
        return [_job(row) for row in await self._connection.fetch(QUERIES["lock_cancelled"], job_id, cursor, limit)]

    async def holders(self, job_ids: Sequence[UUID]) -> set[UUID]:
        """Which of the jobs hold media: their batch is in hand, or has to finish removals."""
        rows = await self._connection.fetch(QUERIES["holders"], list(job_ids))
        return {row["held_by"] for row in rows}

    async def prune_jobs(self, kept_seconds: float, limit: int) -> int:
        """Remove at most `limit`, and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["prune_jobs"], kept_seconds, limit))

    async def prune_selections(self, kept_seconds: float, limit: int) -> int:
        """Remove at most `limit` rows of selections whose job never began, and say how many."""
        return affected_rows(await self._connection.execute(QUERIES["prune_selections"], kept_seconds, limit))

    # --- the work of a batch --------------------------------------------------------------------------------------

    async def hold_pending(self, job_id: UUID, hold_seconds: float) -> list[Medium]:
        """Hold what is left of a job and free, or held by it already."""
        rows = await self._connection.fetch(QUERIES["hold_pending"], job_id, hold_seconds)
        return [_medium(row) for row in rows]

    async def count_pending(self, job_id: UUID) -> int:
        return int(await self._connection.fetchval(QUERIES["count_pending"], job_id))

    async def renew_holds(self, holder: UUID, hold_seconds: float) -> None:
        await self._connection.execute(QUERIES["renew_holds"], holder, hold_seconds)

    async def release_holds(self, holder: UUID) -> None:
        await self._connection.execute(QUERIES["release_holds"], holder)

    async def place(self, holder: UUID, media: Sequence[Medium]) -> dict[UUID, datetime]:
        """Record where media are now; returns when, for those whose hold and revision were still as they were.

        What is in the bucket then, or gone altogether, waits for no copy any more.
        """
        placed = [
            {
                "media_id": str(medium.media_id),
                "revision": medium.revision,
                "files": _files_json(medium.files),
                "on_disk": medium.on_disk,
                "in_bucket": medium.in_bucket,
                "size_bytes": _size_bytes(medium.files),
            }
            for medium in media
        ]
        rows = await self._connection.fetch(QUERIES["place_media"], holder, placed)
        return {row["media_id"]: row["placed_at"] for row in rows}

    async def end_items(self, job_id: UUID, results: Sequence[SyncResult]) -> set[UUID]:
        """Record results; returns the media that were still pending."""
        rows = await self._connection.fetch(QUERIES["end_items"], job_id, [_result_json(one) for one in results])
        return {row["media_id"] for row in rows}

    async def fail_pending(self, job_id: UUID, code: str, detail: str) -> list[SyncResult]:
        rows = await self._connection.fetch(QUERIES["fail_pending"], job_id, code, detail)
        return [
            SyncResult(media_id=row["media_id"], status="failed", bytes_moved=0, code=code, detail=detail)
            for row in rows
        ]

    async def note_removals(self, holder: UUID, outcomes: Sequence[Outcome]) -> None:
        going = [
            {"media_id": str(outcome.before.media_id), "store": removal.store, "key": removal.key}
            for outcome in outcomes
            for removal in outcome.removals
        ]
        if going:
            await self._connection.execute(QUERIES["note_removals"], holder, going)

    async def removals_left(self, holder: UUID) -> dict[UUID, list[Removal]]:
        found: dict[UUID, list[Removal]] = {}
        for row in await self._connection.fetch(QUERIES["removals_left"], holder):
            found.setdefault(row["media_id"], []).append(Removal(row["store"], row["key"]))
        return found

    async def ended_jobs_with_removals(self) -> list[Job]:
        return [_job(row) for row in await self._connection.fetch(QUERIES["ended_jobs_with_removals"])]

    async def forget_removals(self, holder: UUID, media_ids: Sequence[UUID]) -> None:
        await self._connection.execute(QUERIES["forget_removals"], holder, list(media_ids))

    async def release_media(self, holder: UUID, media_ids: Sequence[UUID]) -> None:
        await self._connection.execute(QUERIES["release_media"], holder, list(media_ids))

    # --- local_first ----------------------------------------------------------------------------------------------

    async def lock_medium(self, media_id: UUID) -> Medium | None:
        """Where a medium is, until the end of the transaction; None when it is not known."""
        row = await self._connection.fetchrow(QUERIES["lock_medium"], media_id)
        return None if row is None or row["revision"] == 0 else _medium(row)

    async def now(self) -> datetime:
        now: datetime = await self._connection.fetchval(QUERIES["now"])
        return now

    async def waiting_copies(self, media: Sequence[Medium]) -> set[UUID]:
        """Which of the media wait for their copy in the bucket; asked under the locks of their rows."""
        if not media:
            return set()
        rows = await self._connection.fetch(QUERIES["waiting_copies"], [medium.media_id for medium in media])
        return {row["media_id"] for row in rows}

    async def copies_waiting(self) -> CopiesWaiting:
        row = await self._connection.fetchrow(QUERIES["copies_waiting"])
        assert row is not None, "counting gives one row"
        return CopiesWaiting(row["waiting"], row["oldest_seconds"], row["given_up"])

    async def want_copy(self, media_id: UUID, revision: int, requested_at: datetime) -> None:
        await self._connection.execute(QUERIES["want_copy"], media_id, revision, requested_at)

    async def hold_copies(self, holder: UUID, hold_seconds: float, limit: int) -> list[Medium]:
        rows = await self._connection.fetch(QUERIES["hold_copies"], holder, hold_seconds, limit)
        return [_medium(row) for row in rows]

    async def fail_copy(
        self, media_id: UUID, code: str, detail: str, *, first_delay_seconds: float, attempts: int
    ) -> FailedCopy | None:
        """Make the copy due again later, twice as late each time, or give it up after so many attempts."""
        row = await self._connection.fetchrow(
            QUERIES["fail_copy"], media_id, code, detail, first_delay_seconds, attempts
        )
        return None if row is None else FailedCopy(row["attempts"], row["is_given_up"])


def _filter_arguments(wanted: MediaFilter) -> tuple[str | None, str | None, str | None]:
    status = wanted.storage_status
    return wanted.entity_type, wanted.entity_id, status.value if status else None


def _size_bytes(files: Sequence[StoredFile]) -> int:
    return sum({file.key: file.size_bytes for file in files}.values())


def _files_json(files: Sequence[StoredFile]) -> list[dict[str, Any]]:
    return [file.model_dump(mode="json") for file in files]


def _result_json(result: SyncResult) -> dict[str, Any]:
    return result.model_dump(mode="json")


def _medium(row: Mapping[str, Any]) -> Medium:
    return Medium(
        media_id=row["media_id"],
        revision=row["revision"],
        files=tuple(StoredFile.model_validate(file) for file in row["files"]),
        on_disk=row["on_disk"],
        in_bucket=row["in_bucket"],
    )


def _job_or_none(row: Mapping[str, Any] | None) -> Job | None:
    return None if row is None else _job(row)


def _job(row: Mapping[str, Any] | None) -> Job:
    assert row is not None, "the job's row is gone while it is worked on"
    values = dict(row)
    prefix = values["rename_prefix"]
    return Job(
        **values
        | {
            "operation": SyncOperation(values["operation"]),
            "status": SyncJobStatus(values["status"]),
            "rename_prefix": (prefix[0], prefix[1]) if prefix else None,
        }
    )
