"""What a photographed event is, and whether faces may be looked for on its photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from ingest_api.accounts import Principal, Role
from shared.events import PhotoEventChangedV1


@dataclass(frozen=True, slots=True)
class PhotoEvent:
    """`number` names its folder in the bucket, `owner` is the account that made it.

    Searches have to agree to `consent_text` where there is one, by its `consent_version`. Faces are kept until
    `expires_at` at the latest.
    """

    id: UUID
    number: int
    name: str
    version: int
    owner: UUID
    auto_index: bool
    face_search_enabled: bool
    consent_text: str | None
    consent_version: int
    expires_at: datetime | None
    is_deleted: bool
    created_at: datetime
    updated_at: datetime

    @property
    def folder(self) -> str:
        """Where in the bucket its files lie."""
        return f"events/{self.number}/"

    @property
    def previews_prefix(self) -> str:
        return f"{self.folder}previews/"

    @property
    def originals_prefix(self) -> str:
        return f"{self.folder}originals/"

    def is_over(self, now: datetime) -> bool:
        """Whether its faces may not be kept any more, because of the time."""
        return self.expires_at is not None and self.expires_at <= now

    def is_searchable(self, now: datetime) -> bool:
        return self.face_search_enabled and not self.is_deleted and not self.is_over(now)

    def may_be_used_by(self, principal: Principal) -> bool:
        """Admins use every event, photographers their own."""
        return principal.may(Role.ADMIN) or self.owner == principal.user_id

    def with_changes(self, changes: Mapping[str, Any]) -> PhotoEvent:
        """The event after a change of some of its fields; another text is another version of the consent."""
        changed = replace(self, **changes)
        if changed.consent_text != self.consent_text:
            changed = replace(changed, consent_version=self.consent_version + 1)
        return changed

    def decides_as(self, other: PhotoEvent) -> bool:
        """Whether the same is decided about looking for faces."""
        return all(getattr(self, name) == getattr(other, name) for name in _DECISIONS)

    def changed(self) -> PhotoEventChangedV1:
        """The fact that the event is now like this."""
        return PhotoEventChangedV1(
            event_id=self.id,
            number=self.number,
            version=self.version,
            name=self.name,
            auto_index=self.auto_index,
            is_searchable=self.is_searchable(self.updated_at),
            faces_expire_at=self.expires_at,
            is_deleted=self.is_deleted,
            changed_at=self.updated_at,
        )


_DECISIONS = ("face_search_enabled", "consent_text", "expires_at")
