"""Changes of products' files, as PostgreSQL holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from ingest_api.product_change import Change, ChangeError, ChangeKind, ChangeRequest
from ingest_api.product_saga import Position, Stage, Work
from ingest_api.repositories.products import QUERIES
from shared.db.pool import PooledConnection


class ProductChangeRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def add(
        self, change_id: UUID, product_id: UUID, kind: ChangeKind, request: ChangeRequest, requested_by: UUID
    ) -> Change:
        """A change that waits for its turn."""
        wanted = request.model_dump(mode="json", exclude_none=True)
        await self._connection.execute(QUERIES["add_change"], change_id, product_id, kind.value, wanted, requested_by)
        change = await self.get(change_id)
        assert change is not None
        return change

    async def get(self, change_id: UUID) -> Change | None:
        return _or_none(await self._connection.fetchrow(QUERIES["change"], change_id))

    async def of_task(self, task_id: UUID) -> Change | None:
        """The change that waits for a task."""
        return _or_none(await self._connection.fetchrow(QUERIES["change_of_task"], task_id))

    async def next_waiting(self, product_id: UUID) -> Change | None:
        return _or_none(await self._connection.fetchrow(QUERIES["next_change"], product_id))

    async def queue(self, product_id: UUID) -> tuple[bool, int]:
        """Whether a change of the product is active, and how many wait."""
        row = await self._connection.fetchrow(QUERIES["queue"], product_id)
        assert row is not None
        return bool(row["active"]), int(row["waiting"])

    async def move(
        self,
        change_id: UUID,
        work: Work,
        position: Position,
        task_id: UUID,
        error: ChangeError | None,
        remind_after_seconds: float,
    ) -> None:
        """Have a change wait for the end of a task."""
        await self._connection.execute(
            QUERIES["move_change"],
            change_id,
            work.model_dump(mode="json", exclude_none=True),
            position.stage.value,
            position.part,
            task_id,
            *_error_columns(error),
            remind_after_seconds,
        )

    async def end(self, change_id: UUID, error: ChangeError | None, result: Mapping[str, Any] | None) -> None:
        """End a change, and wake whoever waits for it once that is committed."""
        status = "completed" if error is None else "failed"
        await self._connection.execute(QUERIES["end_change"], change_id, status, result, *_error_columns(error))

    async def due(self, first_after_seconds: float, limit: int) -> list[Change]:
        """Active changes of which nothing was heard for long; each is due again twice as late."""
        return [
            _change(row) for row in await self._connection.fetch(QUERIES["due_changes"], first_after_seconds, limit)
        ]

    async def prune(self, older_than_seconds: float, limit: int) -> None:
        await self._connection.execute(QUERIES["prune_changes"], older_than_seconds, limit)

    async def known_staging_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose files a change still needs."""
        return {row[0] for row in await self._connection.fetch(QUERIES["known_staging_keys"], list(keys))}


def _error_columns(error: ChangeError | None) -> tuple[int | None, str | None, str | None, str | None]:
    return (None, None, None, None) if error is None else (error.status, error.code, error.detail, error.step)


def _or_none(row: Mapping[str, Any] | None) -> Change | None:
    return None if row is None else _change(row)


def _change(row: Mapping[str, Any]) -> Change:
    error = None
    if row["error_code"] is not None:
        error = ChangeError(row["error_status"], row["error_code"], row["error_detail"], row["error_step"])
    return Change(
        id=row["id"],
        product_id=row["product_id"],
        kind=ChangeKind(row["kind"]),
        status=row["status"],
        request=ChangeRequest.model_validate(row["request"]),
        work=None if row["work"] is None else Work.model_validate(row["work"]),
        position=None if row["stage"] is None else Position(Stage(row["stage"]), row["stage_part"]),
        task_id=row["task_id"],
        error=error,
        result=row["result"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )
