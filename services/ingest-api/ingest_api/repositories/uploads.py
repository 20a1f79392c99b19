"""The one transaction in which an upload becomes a medium with a job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ingest_api.bulk import BulkItem
from ingest_api.catalogue import Upload
from ingest_api.idempotency import FirstUse
from shared.db.pool import PooledConnection, is_lost
from shared.db.queries import load_queries
from shared.messaging.errors import InfrastructureUnavailable
from shared.outbox.outgoing import OutgoingMessage, channel_of
from shared.telemetry.tracing import current_traceparent, current_tracestate

RECORD_SECONDS = 10.0

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "uploads.sql")


class CommitInDoubt(InfrastructureUnavailable):
    """The connection broke, or the wait ended, after the statement was sent: it may have taken effect, or may yet."""


class UploadRepository:
    """Works on the connection it is given; `record` is a transaction of its own when none is open."""

    def __init__(self, connection: PooledConnection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    async def record(
        self,
        upload: Upload,
        outgoing: Sequence[OutgoingMessage],
        idempotency_key: str | None,
        *,
        notify: bool = True,
    ) -> bool:
        """Write medium, job and outgoing events; False, and nothing is written, if the key was used before.

        Without `notify` the caller wakes the relay. Raises CommitInDoubt.
        """
        with self._doubting():
            return await self._record(upload, outgoing, idempotency_key, channel_of(self._schema) if notify else None)

    async def record_bulk(
        self, bulk_id: UUID, uploader: UUID, items: Sequence[BulkItem], outgoing: Sequence[OutgoingMessage]
    ) -> None:
        """Write parent, items, and the media, jobs and outgoing events of those that were not refused.

        Raises CommitInDoubt.
        """
        with self._doubting():
            await self._connection.execute(
                QUERIES["record_bulk"],
                bulk_id,
                uploader,
                [item.row() | {"position": position} for position, item in enumerate(items)],
                [_row(item.upload) for item in items if item.upload],
                current_traceparent(),
                current_tracestate(),
                [message.topic for message in outgoing],
                [message.key for message in outgoing],
                [json.dumps(dict(message.headers)) for message in outgoing],
                [message.payload for message in outgoing],
                channel_of(self._schema),
                timeout=RECORD_SECONDS,
            )

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, asyncio.CancelledError, OSError, asyncpg.InterfaceError) as error:
            raise CommitInDoubt("postgresql", f"no answer to the recording of an upload: {error!r}") from error
        except asyncpg.PostgresError as error:
            # What the server reports is decided; what the driver reports of a lost connection is not.
            if is_lost(self._connection) and not isinstance(error, asyncpg.OperatorInterventionError):
                raise CommitInDoubt("postgresql", f"the connection broke: {error!r}") from error
            raise

    async def _record(
        self, upload: Upload, outgoing: Sequence[OutgoingMessage], idempotency_key: str | None, channel: str | None
    ) -> bool:
        written = await self._connection.fetchval(
            QUERIES["record_upload"],
            upload.media_id,
            upload.job_id,
            upload.uploader,
            upload.filename,
            upload.mime_type,
            upload.size_bytes,
            upload.sha256,
            upload.entity_type,
            upload.entity_id,
            upload.alt,
            upload.title,
            upload.private,
            upload.storage_strategy,
            upload.staging_key,
            upload.received_at,
            idempotency_key,
            current_traceparent(),
            current_tracestate(),
            [message.topic for message in outgoing],
            [message.key for message in outgoing],
            [json.dumps(dict(message.headers)) for message in outgoing],
            [message.payload for message in outgoing],
            channel,
            timeout=RECORD_SECONDS,
        )
        return bool(written)

    async def first_use(self, user_id: UUID, idempotency_key: str) -> FirstUse | None:
        row = await self._connection.fetchrow(QUERIES["first_use"], user_id, idempotency_key)
        return None if row is None else FirstUse(**row)

    async def pending(self, most: int) -> int:
        """How many uploads have no outcome yet, counted up to `most`."""
        count: int = await self._connection.fetchval(QUERIES["pending_uploads"], most)
        return count


def _row(upload: Upload) -> dict[str, Any]:
    """As JSON that PostgreSQL makes a row of."""
    ids = {name: str(getattr(upload, name)) for name in ("media_id", "job_id", "uploader")}
    return asdict(upload) | ids | {"received_at": upload.received_at.isoformat()}
