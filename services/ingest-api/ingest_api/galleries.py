"""Galleries: made and revoked by who owns the event, opened by guests."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ingest_api.accounts import new_secret, secret_hash
from ingest_api.gallery import Gallery, GalleryPasses
from ingest_api.photo_event import PhotoEvent
from ingest_api.problem_details import Problem, retry_after
from ingest_api.repositories.face_searches import Seeker
from ingest_api.repositories.galleries import GalleryRepository
from ingest_api.repositories.photo_events import PhotoEventRepository
from ingest_api.settings import IngestSettings
from ingest_api.sign_in import SignIn, counted_address
from shared.db.pool import Database
from shared.identifiers import new_id

log = logging.getLogger(__name__)

MINUTE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class GalleryWish:
    """What a new link lets its holders do; `pin` is hashed and forgotten."""

    name: str
    pin: str | None
    may_list: bool
    may_search: bool
    may_download: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenGallery:
    """A gallery that goes on, and its event."""

    gallery: Gallery
    event: PhotoEvent

    @property
    def seeker(self) -> Seeker:
        return Seeker(gallery_id=self.gallery.id)

    def require(self, allowed: bool, what: str) -> None:
        """Raises Problem 403 unless the link allows it."""
        if not allowed:
            raise Problem(403, "forbidden", f"This link does not let its holders {what}.")


class Galleries:
    """The token is stored as its hash: who reads the tables opens no gallery. PINs are argon2id, attempts counted."""

    def __init__(self, database: Database, sign_in: SignIn, passes: GalleryPasses, settings: IngestSettings) -> None:
        self._database = database
        self._sign_in = sign_in
        self._passes = passes
        self._searches_per_minute = settings.gallery_searches_per_minute
        self._free_downloads = settings.gallery_downloads
        self.archive_photos = settings.gallery_archive_photos

    # --- for who owns the event -----------------------------------------------------------------------------------

    async def add(self, event: PhotoEvent, wish: GalleryWish, created_by: UUID) -> tuple[Gallery, str]:
        """The gallery and its token, which nobody can find out later."""
        token = new_secret()
        gallery = Gallery(
            id=new_id(),
            event_id=event.id,
            name=wish.name,
            pin_hash=None if wish.pin is None else await self._sign_in.passwords.hash(wish.pin),
            may_list=wish.may_list,
            may_search=wish.may_search,
            may_download=wish.may_download,
            expires_at=wish.expires_at,
            revoked_at=None,
            created_by=created_by,
            created_at=datetime.now(UTC),
        )
        async with self._database.connection() as connection:
            await GalleryRepository(connection).add(gallery, secret_hash(token))
        return gallery, token

    async def of_event(self, event: PhotoEvent, after: UUID | None, limit: int) -> list[Gallery]:
        async with self._database.connection() as connection:
            return await GalleryRepository(connection).of_event(event.id, after, limit)

    async def revoke(self, event: PhotoEvent, gallery_id: UUID) -> None:
        """Raises Problem 404."""
        async with self._database.connection() as connection:
            if not await GalleryRepository(connection).revoke(event.id, gallery_id):
                raise Problem(404, "not_found", "This event has no such gallery.")

    # --- for guests -----------------------------------------------------------------------------------------------

    async def look(self, token: str) -> OpenGallery:
        """The gallery, without its PIN. Raises Problem 404 in the same words whether it ended or never was."""
        async with self._database.connection() as connection:
            gallery = await GalleryRepository(connection).by_token(secret_hash(token))
            event = None if gallery is None else await PhotoEventRepository(connection).get(gallery.event_id)
        if gallery is None or event is None or event.is_deleted or not gallery.is_open(datetime.now(UTC)):
            raise Problem(404, "not_found", "There is no such gallery, or its time is over: ask for another link.")
        return OpenGallery(gallery, event)

    def is_unlocked(self, opened: OpenGallery, pass_text: str | None) -> bool:
        if opened.gallery.pin_hash is None:
            return True
        return pass_text is not None and self._passes.is_valid(opened.gallery, pass_text, time.time())

    async def enter(self, token: str, pass_text: str | None) -> OpenGallery:
        """The gallery, for who needs no PIN or has given it. Raises Problem 404, and 403 without the pass."""
        opened = await self.look(token)
        if not self.is_unlocked(opened, pass_text):
            raise Problem(403, "pin_needed", "Give the PIN first: POST it to /gallery/{token}/unlock.")
        return opened

    async def unlock(self, token: str, pin: str, address: str) -> tuple[OpenGallery, str]:
        """A pass for the PIN. Raises Problem 404, 403 for a wrong PIN, 429 after too many."""
        opened = await self.look(token)
        if opened.gallery.pin_hash is not None:
            account, address = f"gallery {opened.gallery.id}", counted_address(address)
            await self._sign_in.admit(account, address)
            if not (await self._sign_in.passwords.verify(opened.gallery.pin_hash, pin)).right:
                log.info("a PIN was wrong", extra={"gallery_id": str(opened.gallery.id), "address": address})
                raise Problem(403, "wrong_pin", "The PIN is wrong.")
            await self._sign_in.forgive(account, address)
        return opened, self._passes.issue(opened.gallery, time.time())

    @property
    def pass_seconds(self) -> float:
        return self._passes.lifetime_seconds

    async def admit_search(self, opened: OpenGallery) -> None:
        """Raises Problem 403 where the link does not allow it, 429 for too many of one link."""
        opened.require(opened.gallery.may_search, "search")
        await self.admit_selfie(opened)

    async def admit_selfie(self, opened: OpenGallery) -> None:
        """Raises Problem 429 for too many of one link, whatever they are for."""
        async with self._database.connection() as connection:
            recent = await GalleryRepository(connection).recent_searches(opened.gallery.id, MINUTE_SECONDS)
        if recent >= self._searches_per_minute:
            detail = "Too many searches by this link. Try again in a minute."
            raise Problem(429, "too_many_requests", detail, retry_after(MINUTE_SECONDS))

    @asynccontextmanager
    async def download(self) -> AsyncIterator[None]:
        """Hold one of the places for archives; raises Problem 429 where none is free."""
        if self._free_downloads <= 0:
            detail = "Too many archives are on their way. Try again in a minute."
            raise Problem(429, "too_many_requests", detail, retry_after(MINUTE_SECONDS))
        self._free_downloads -= 1
        try:
            yield
        finally:
            self._free_downloads += 1
