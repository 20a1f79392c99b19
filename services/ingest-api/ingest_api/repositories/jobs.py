"""Jobs, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ingest_api.catalogue import ChangedJob, Job, JobStatus, Outcome
from shared.db.pool import PooledConnection
from shared.db.queries import affected_rows, load_queries
from shared.events import ImageCancelledV1, ImageDiscardedV1, ImageFailedV1, ImageProgressV1, ImageRetryScheduledV1
from shared.telemetry.tracing import current_traceparent

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "jobs.sql")


class JobRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def get(self, job_id: UUID) -> Job | None:
        row = await self._connection.fetchrow(QUERIES["job"], job_id)
        return None if row is None else job_of(row)

    async def newest(self, status: JobStatus | None, after: UUID | None, limit: int) -> list[Job]:
        """Newest first."""
        return [job_of(row) for row in await self._connection.fetch(QUERIES["list_jobs"], after, status, limit)]

    async def count_pending(self) -> dict[str, int]:
        """How many jobs are waiting and active; a status without any is left out."""
        return {row["status"]: row["jobs"] for row in await self._connection.fetch(QUERIES["count_pending"])}

    async def advance(self, event: ImageProgressV1) -> None:
        """Record progress and tell the uploader, in a transaction of its own when none is open; no news is passed over.

        Within a transaction it belongs to the end: other notices of the uploader wait for the commit.
        """
        await self._connection.execute(
            QUERIES["advance"], event.job_id, event.progress, event.attempt, current_traceparent()
        )

    async def await_next_attempt(self, event: ImageRetryScheduledV1) -> None:
        await self._connection.execute(
            QUERIES["await_next_attempt"],
            event.job_id,
            event.attempts,
            event.code,
            event.detail,
            event.next_attempt_at,
        )

    async def complete(self, job_id: UUID, outcome: Outcome) -> ChangedJob | None:
        """None if it is completed already or gone. A failed job may complete: its dead letter was replayed."""
        return await self._change("complete", job_id, asdict(outcome))

    async def fail(self, event: ImageFailedV1) -> ChangedJob | None:
        """None if it has an outcome already or is gone."""
        return await self._change("fail", event.job_id, event.attempts, event.code, event.detail)

    async def discard(self, event: ImageDiscardedV1) -> ChangedJob | None:
        """Fail a job whose medium goes for good; None if it has an outcome already or is gone."""
        detail = "The medium was deleted before it was rendered."
        return await self._change("fail", event.job_id, 0, "medium_deleted", detail)

    async def cancel(self, event: ImageCancelledV1) -> ChangedJob | None:
        """None if it has an outcome already or is gone."""
        return await self._change("cancel", event.job_id)

    async def resume(self, job_id: UUID) -> Job | None:
        """Have a failed job wait again; None if it is not failed or its file is gone."""
        row = await self._connection.fetchrow(QUERIES["resume"], job_id)
        return None if row is None else job_of(row)

    async def remove_completed(self, older_than_seconds: float, newest_kept: int, limit: int) -> int:
        """Remove at most `limit` jobs and say how many."""
        rows = await self._connection.fetch(QUERIES["remove_completed"], older_than_seconds, newest_kept, limit)
        return len(rows)

    async def remove_cancelled(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` jobs and say how many."""
        return len(await self._connection.fetch(QUERIES["remove_cancelled"], older_than_seconds, limit))

    async def remove_failed(self, older_than_seconds: float, limit: int) -> list[str | None]:
        """Remove at most `limit` jobs and give each one's staging key."""
        rows = await self._connection.fetch(QUERIES["remove_failed"], older_than_seconds, limit)
        return [row["staging_key"] for row in rows]

    async def remove_old_idempotency_keys(self, older_than_seconds: float, limit: int) -> int:
        """Remove at most `limit` and say how many."""
        statement = QUERIES["remove_old_idempotency_keys"]
        return affected_rows(await self._connection.execute(statement, older_than_seconds, limit))

    async def known_staging_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that a job still needs."""
        rows = await self._connection.fetch(QUERIES["known_staging_keys"], keys)
        return {row["staging_key"] for row in rows}

    async def _change(self, query: str, job_id: UUID, *values: object) -> ChangedJob | None:
        row = await self._connection.fetchrow(QUERIES[query], job_id, *values)
        return None if row is None else ChangedJob(job_id, row["media_id"], row["uploader"], row["deletion_id"])


def job_of(row: asyncpg.Record) -> Job:
    stored = dict(row)
    del stored["traceparent"]
    del stored["replacement"]
    is_hidden = stored.pop("is_hidden", False)
    outcome = stored["outcome"]
    stored["outcome"] = None if outcome is None or is_hidden else Outcome.from_json(outcome)
    return Job(**stored)
