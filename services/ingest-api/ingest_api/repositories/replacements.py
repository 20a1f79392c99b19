"""Files that take others' places, as PostgreSQL holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingest_api.catalogue import Upload
from shared.db.pool import PooledConnection
from shared.db.queries import load_queries
from shared.telemetry.tracing import current_traceparent

QUERIES = load_queries(Path(__file__).parents[1] / "queries" / "replacements.sql")


class ReplacementRepository:
    """Works on the connection it is given; whoever gives it decides about the transaction."""

    def __init__(self, connection: PooledConnection[Any]) -> None:
        self._connection = connection

    async def begin(self, upload: Upload) -> None:
        """Note the job and what the file says of itself; the record is that of the present file until it is shown."""
        await self._connection.execute(
            QUERIES["begin"],
            upload.media_id,
            upload.job_id,
            upload.uploader,
            upload.revision,
            upload.entity_type,
            upload.staging_key,
            current_traceparent(),
            upload.received_at,
            {
                "filename": upload.filename,
                "mime_type": upload.mime_type,
                "size_bytes": upload.size_bytes,
                "sha256": upload.sha256,
            },
        )
