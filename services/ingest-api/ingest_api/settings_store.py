"""Reading and changing the settings: checked, versioned, recorded, told to every service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel

from ingest_api.accounts import Principal, Role
from ingest_api.problem_details import Problem
from ingest_api.repositories.settings import SettingsChange, SettingsRepository, StoredSettings
from ingest_api.settings_document import differences, require_match
from shared.db.unit_of_work import Transaction, UnitOfWork
from shared.events import EntityTypeSettings, EntityTypeSettingsChangedV1, MediaSettings, SettingsChangedV1
from shared.events.settings import ENTITY_TYPE_PREFIX, MEDIA_KEY, entity_type_key
from shared.identifiers import new_id
from shared.messaging.errors import InfrastructureUnavailable
from shared.settings_feed import SettingsEvent, SettingsFeed

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0
FIRST_LOOKS_SECONDS = 1.0
"""Until it is known what the topic holds: what it lacks is told soon after a start."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Versioned(Generic[M]):
    """A document with its version; version 0 are the defaults, which nobody changed yet."""

    settings: M
    version: int
    updated_by: UUID | None = None
    updated_at: datetime | None = None


class SettingsStore:
    """The settings as PostgreSQL holds them. A change and the event that tells of it are one transaction.

    What this process hears of first-hand, it applies at once; the others follow by the feed.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        feed: SettingsFeed,
        media_defaults: MediaSettings,
        entity_type_defaults: Mapping[str, EntityTypeSettings],
    ) -> None:
        self._unit_of_work = unit_of_work
        self._feed = feed
        self._media_defaults = media_defaults
        self._entity_type_defaults = dict(entity_type_defaults)
        self._told: dict[str, int] = {}

    async def media(self) -> Versioned[MediaSettings]:
        async with self._unit_of_work.database.connection() as connection:
            stored = await SettingsRepository(connection).get(MEDIA_KEY)
        return self._read_media(stored)

    async def entity_type(self, name: str) -> Versioned[EntityTypeSettings]:
        async with self._unit_of_work.database.connection() as connection:
            stored = await SettingsRepository(connection).get(entity_type_key(name))
        return self._read_entity_type(name, stored)

    async def entity_types(self) -> list[str]:
        """Those that have settings of their own, by name: from the environment, or since somebody set them."""
        async with self._unit_of_work.database.connection() as connection:
            stored = await SettingsRepository(connection).all()
        names = {one.name.removeprefix(ENTITY_TYPE_PREFIX) for one in stored if one.name.startswith(ENTITY_TYPE_PREFIX)}
        return sorted(names | self._entity_type_defaults.keys())

    async def change_media(
        self, change: Callable[[MediaSettings], MediaSettings], if_match: str | None, by: Principal
    ) -> Versioned[MediaSettings]:
        """Apply a change to the present settings; a change that changes nothing makes no version.

        Raises Problem 412 for a stale `if_match`, 403 where an admin would change what concerns S3, and what `change`
        raises.
        """
        async with self._unit_of_work.begin() as transaction:
            now = self._read_media(await _locked(transaction, MEDIA_KEY))
            require_match(if_match, now.version)
            changed = change(now.settings)
            if changed == now.settings:
                return now
            then = Versioned(changed, self._next_version(MEDIA_KEY, now.version), by.user_id, datetime.now(UTC))
            before, after = _differences(now.settings, changed)
            _require_rights(after, by)
            event = _media_event(then)
            await _record(transaction, event, before, after, by)
        self._feed.take(event)
        self._told[event.key()] = event.version
        return then

    async def change_entity_type(
        self, name: str, settings: EntityTypeSettings, if_match: str | None, by: Principal
    ) -> Versioned[EntityTypeSettings]:
        """Put an entity type's settings in place of those it had. Raises Problem 412 for a stale `if_match`."""
        async with self._unit_of_work.begin() as transaction:
            now = self._read_entity_type(name, await _locked(transaction, entity_type_key(name)))
            require_match(if_match, now.version)
            if settings == now.settings and now.version:
                return now
            then = Versioned(
                settings, self._next_version(entity_type_key(name), now.version), by.user_id, datetime.now(UTC)
            )
            before, after = _differences(now.settings, settings)
            event = _entity_type_event(name, then)
            await _record(transaction, event, before, after, by)
        self._feed.take(event)
        self._told[event.key()] = event.version
        return then

    async def changes(self, after: UUID | None, limit: int) -> list[SettingsChange]:
        async with self._unit_of_work.database.connection() as connection:
            return await SettingsRepository(connection).changes(after, limit)

    async def follow(self) -> None:
        """Look into the database now and then, so that this service follows while Kafka is away; never ends.

        And tell again what the topic lacks: it may have been made anew, beside a database that came from a backup.
        """
        while True:
            try:
                await self.look()
            except InfrastructureUnavailable as error:
                log.debug("settings were not read", extra={"detail": str(error)})
            await asyncio.sleep(LOOK_EVERY_SECONDS if self._feed.caught_up else FIRST_LOOKS_SECONDS)

    def _next_version(self, name: str, version: int) -> int:
        """Also above what the topic holds: after the database came back from a backup, readers know higher versions."""
        return max(version, self._feed.version(name)) + 1

    async def look(self) -> None:
        """Look once: take what is newer, and tell again what the topic lacks."""
        async with self._unit_of_work.database.connection() as connection:
            stored = await SettingsRepository(connection).all()
        events = [self._event_of(one) for one in stored]
        for event in events:
            self._feed.take(event)
        if self._feed.caught_up:
            await self._tell_again(events)

    async def _tell_again(self, events: list[SettingsEvent]) -> None:
        """Tell each version once that the topic lacks and this process did not tell of; twice does no harm."""
        lost = [
            event
            for event in events
            if event.version > max(self._feed.told_version(event.key()), self._told.get(event.key(), 0))
        ]
        if lost:
            log.warning("settings are told again", extra={"keys": [event.key() for event in lost]})
            async with self._unit_of_work.begin() as transaction:
                transaction.publish(*lost)
            self._told |= {event.key(): event.version for event in lost}

    def _event_of(self, stored: StoredSettings) -> SettingsEvent:
        if stored.name == MEDIA_KEY:
            return _media_event(self._read_media(stored))
        name = stored.name.removeprefix(ENTITY_TYPE_PREFIX)
        return _entity_type_event(name, self._read_entity_type(name, stored))

    def _read_media(self, stored: StoredSettings | None) -> Versioned[MediaSettings]:
        if stored is None:
            return Versioned(self._media_defaults, 0)
        # A field that the document does not know yet has its default.
        document = {**self._media_defaults.model_dump(), **stored.document}
        return Versioned(MediaSettings.model_validate(document), stored.version, stored.updated_by, stored.updated_at)

    def _read_entity_type(self, name: str, stored: StoredSettings | None) -> Versioned[EntityTypeSettings]:
        if stored is None:
            return Versioned(self._entity_type_defaults.get(name, EntityTypeSettings()), 0)
        settings = EntityTypeSettings.model_validate(stored.document)
        return Versioned(settings, stored.version, stored.updated_by, stored.updated_at)


async def _locked(transaction: Transaction, name: str) -> StoredSettings | None:
    repository = SettingsRepository(transaction.connection)
    await repository.lock(name)
    return await repository.get(name)


async def _record(
    transaction: Transaction, event: SettingsEvent, before: Mapping[str, Any], after: Mapping[str, Any], by: Principal
) -> None:
    repository = SettingsRepository(transaction.connection)
    document = event.settings.model_dump(mode="json")
    name = event.key()
    await repository.write(StoredSettings(name, event.version, document, by.user_id, event.changed_at))
    await repository.note(
        SettingsChange(new_id(), name, event.version, before, after, by.user_id, by.email, event.changed_at)
    )
    transaction.publish(event)


def _differences(before: BaseModel, after: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
    return differences(before.model_dump(mode="json", by_alias=True), after.model_dump(mode="json", by_alias=True))


def _require_rights(changed: Mapping[str, Any], by: Principal) -> None:
    of_s3 = sorted(name for name in changed if name.startswith("s3"))
    if of_s3 and not by.may(Role.SUPERADMIN):
        detail = f"Changing {', '.join(of_s3)} needs the role {Role.SUPERADMIN}; yours is {by.role}."
        raise Problem(403, "forbidden", detail)


def _media_event(settings: Versioned[MediaSettings]) -> SettingsChangedV1:
    assert settings.updated_by is not None
    assert settings.updated_at is not None
    return SettingsChangedV1(
        version=settings.version,
        settings=settings.settings,
        changed_by=settings.updated_by,
        changed_at=settings.updated_at,
    )


def _entity_type_event(name: str, settings: Versioned[EntityTypeSettings]) -> EntityTypeSettingsChangedV1:
    assert settings.updated_by is not None
    assert settings.updated_at is not None
    return EntityTypeSettingsChangedV1(
        entity_type=name,
        version=settings.version,
        settings=settings.settings,
        changed_by=settings.updated_by,
        changed_at=settings.updated_at,
    )
