"""Files of revisions that nobody is shown any more: noted with the fact, removed once nobody reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from s3_syncer.superseded_repository import SupersededRepository, SupersededRevision
from shared.db.unit_of_work import UnitOfWork
from shared.events import MediaRevisionSupersededV1
from shared.messaging.delivery import Delivery
from shared.messaging.errors import InfrastructureUnavailable, MessageError
from shared.storage.keys import MediaKey, media_prefix
from shared.storage.object_store import ObjectStore

log = logging.getLogger(__name__)

PAGE_REVISIONS: Final = 50
LOOK_EVERY_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 60.0


class Superseded:
    """A list in PostgreSQL, worked off again and again; several replicas at once do no harm.

    With a revision everything goes that lies in its folder or in an older one's, in every store: also what an
    interrupted rendering or copy left there.
    """

    def __init__(self, unit_of_work: UnitOfWork, stores: Sequence[ObjectStore], *, kept_seconds: float) -> None:
        self._unit_of_work = unit_of_work
        self._stores = stores
        self._kept_seconds = kept_seconds

    async def note(self, event: MediaRevisionSupersededV1, delivery: Delivery) -> None:
        async with self._unit_of_work.begin(delivery) as transaction:
            await SupersededRepository(transaction.connection).note(event, kept_seconds=self._kept_seconds)

    async def work_off(self) -> None:
        """Remove what is due, for as long as the process lives."""
        while True:
            try:
                while await self.remove_some():
                    pass
            except InfrastructureUnavailable as error:
                log.warning("superseded files wait", extra={"detail": str(error)})
            await asyncio.sleep(min(LOOK_EVERY_SECONDS, self._kept_seconds))

    async def remove_some(self) -> bool:
        """Remove the files of the next few revisions; False when none was due, or a store is away.

        What a store refuses is put off, so that it is in nobody's way. Raises InfrastructureUnavailable when PostgreSQL
        is away.
        """
        async with self._unit_of_work.begin() as transaction:
            page = await SupersededRepository(transaction.connection).due(PAGE_REVISIONS)
        for superseded in page:
            try:
                await self._remove(superseded)
            except (InfrastructureUnavailable, MessageError) as error:
                await self._put_off(superseded, error)
                if isinstance(error, InfrastructureUnavailable):
                    return False
            else:
                async with self._unit_of_work.begin() as transaction:
                    await SupersededRepository(transaction.connection).forget(superseded)
        return bool(page)

    async def _remove(self, superseded: SupersededRevision) -> None:
        for store in self._stores:
            going = set(superseded.keys)
            async for info in store.list(media_prefix(superseded.media_id)):
                key = MediaKey.parse(info.key)
                if key is not None and key.revision <= superseded.revision:
                    going.add(info.key)
            for name in sorted(going - superseded.present_keys):
                await store.delete(name)

    async def _put_off(self, superseded: SupersededRevision, error: Exception) -> None:
        log.warning(
            "files of a superseded revision stay for now",
            extra={
                "media_id": str(superseded.media_id),
                "revision": superseded.revision,
                "detail": str(error),
                "delay_seconds": AGAIN_SECONDS,
            },
        )
        async with self._unit_of_work.begin() as transaction:
            await SupersededRepository(transaction.connection).put_off(superseded, AGAIN_SECONDS)
