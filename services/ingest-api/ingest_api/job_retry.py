"""Having a failed job done again."""

from __future__ import annotations

from uuid import UUID

from ingest_api.catalogue import Job, Media
from ingest_api.known_jobs import find_job, no_such_job
from ingest_api.repositories.jobs import JobRepository
from ingest_api.repositories.media import MediaRepository
from ingest_api.rerendering import Rerendering, not_retryable
from shared.db.unit_of_work import UnitOfWork
from shared.events import ProcessImageV1
from shared.storage.object_store import ObjectStore


class JobRetry:
    """Commands the same work again, for the same medium, revision and object keys."""

    def __init__(self, unit_of_work: UnitOfWork, staging_store: ObjectStore, rerendering: Rerendering) -> None:
        """`staging_store` is where uploads are staged."""
        self._rerendering = rerendering
        self._unit_of_work = unit_of_work
        self._staging_store = staging_store

    async def retry(self, job_id: UUID) -> Job:
        """Raises Problem 404 for an unknown job, 409 for one that can't be done again."""
        async with self._unit_of_work.database.connection() as connection:
            job = await find_job(connection, job_id)
        if job is None:
            raise no_such_job()
        if job.status != "failed":
            raise not_retryable(f"Only a failed job can be tried again; this one is {job.status}.")
        if job.kind == "rerender":
            return await self._rerendering.retry(job)
        if job.staging_key is None or await self._staging_store.stat(job.staging_key) is None:
            raise not_retryable("The file of this job is no longer there: upload it again.")
        async with self._unit_of_work.begin() as tx:
            media = await MediaRepository(tx.connection).get(job.media_id)
            if media is None or media.revision != job.revision:
                raise not_retryable("The medium was replaced or removed since: upload the file again if it is wanted.")
            if media.deleted_at is not None:
                raise not_retryable("The medium is deleted: restore it first.")
            resumed = await JobRepository(tx.connection).resume(job_id)
            if resumed is None:
                raise not_retryable("The job changed in this very moment: read it again.")
            await MediaRepository(tx.connection).record_resumed(media.id, media.revision)
            tx.publish(_command(resumed, media, job.staging_key))
        return resumed


def _command(job: Job, media: Media, staging_key: str) -> ProcessImageV1:
    return ProcessImageV1(
        job_id=job.id,
        media_id=media.id,
        revision=media.revision,
        staging_key=staging_key,
        filename=media.filename,
        mime_type=media.mime_type,
        size_bytes=media.size_bytes,
        sha256=media.sha256,
        entity_type=media.entity_type,
        entity_id=media.entity_id,
        storage_strategy=media.storage_strategy,
        requested_at=media.created_at,
    )
