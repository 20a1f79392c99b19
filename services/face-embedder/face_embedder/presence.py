"""What this process wants to look with and can, said again and again for as long as it lives."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from face_embedder.packs import PackId, PacksAtHand
from face_embedder.repositories.packs import Packs
from shared.db.unit_of_work import UnitOfWork
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.telemetry import metrics

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 5.0
GONE_SECONDS: Final = 30.0
"""A process that says nothing for so long is taken for dead."""
_LEAVE_SECONDS: Final = 2.0


class Presence:
    """Puts the wanted pack in front where it is new, and keeps events with a pack that living processes have."""

    def __init__(self, unit_of_work: UnitOfWork, packs: PacksAtHand, revision: int) -> None:
        self._unit_of_work = unit_of_work
        self._packs = packs
        self._revision = revision
        self._replica_id = new_id()
        self._in_front: PackId | None = None
        self._has_told_of_end = packs.previous is None

    @property
    def is_in_front(self) -> bool:
        """Whether events change to the pack that this process wants; False until that is known."""
        return self._in_front == self._packs.wanted

    async def run(self) -> None:
        """Ends only by cancellation, and says so."""
        try:
            while True:
                try:
                    await self.turn()
                except InfrastructureUnavailable as error:
                    log.warning("nobody can be told which packs are here", extra={"detail": str(error)})
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            with suppress(InfrastructureUnavailable, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS), self._unit_of_work.begin() as transaction:
                    await Packs(transaction.connection).leave(self._replica_id)

    async def turn(self) -> None:
        """Say it once, and measure how far the change to the wanted pack is."""
        async with self._unit_of_work.begin() as transaction:
            packs = Packs(transaction.connection)
            in_front = await packs.want(self._packs.wanted, self._revision)
            await packs.appear(self._replica_id, self._packs.all, GONE_SECONDS)
            events, waiting = await packs.events_by_pack(), await packs.photos_waiting()
        self._note(in_front)
        self._measure(events, waiting)

    def _note(self, in_front: PackId) -> None:
        if in_front != self._in_front and in_front != self._packs.wanted:
            log.warning(
                "events do not change to the pack that is set here, which another one has taken the place of: set that "
                "one, or raise MEDIABUS_FACE_PACK_REVISION to go back",
                extra={"pack": str(self._packs.wanted), "in_front": str(in_front)},
            )
        self._in_front = in_front

    def _measure(self, events: dict[PackId, int], waiting: int) -> None:
        metrics.face_second_looks_waiting.set(waiting)
        metrics.face_events.clear()
        for pack, count in events.items():
            metrics.face_events.labels(pack.name, pack.version).set(count)
        if not self._has_told_of_end and self.is_in_front and set(events) <= {self._packs.wanted}:
            self._has_told_of_end = True
            log.info(
                "every event has the wanted pack: MEDIABUS_FACE_PREVIOUS_PACK is not needed any more",
                extra={"pack": str(self._packs.wanted)},
            )
