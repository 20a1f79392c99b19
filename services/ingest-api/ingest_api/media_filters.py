"""The filters of lists of media, one meaning wherever they are given: in an address, or in a call's `matching`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, get_args
from uuid import UUID

from ingest_api.catalogue import MediaStatus
from ingest_api.problem_details import FieldError, InvalidFields
from shared.events import StorageStatus

FILTERS: Final = ("q", "entityType", "entityId", "status", "storageStatus", "before", "deleted")
MEDIA_STATUSES: Final[tuple[MediaStatus, ...]] = get_args(MediaStatus)
TEXT_MAX_CHARACTERS: Final = 500
_STATUS_OF: Final[Mapping[str, MediaStatus]] = {
    # A medium whose job waits or is worked on is in processing.
    "waiting": "processing",
    "active": "processing",
    **{status: status for status in MEDIA_STATUSES},
}
_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "status": tuple(_STATUS_OF),
    "storageStatus": tuple(StorageStatus),
    "deleted": ("true", "false"),
}


@dataclass(frozen=True, slots=True)
class MediaFilter:
    """Which media a list shows; None leaves a question open. `text` is looked for in names, alt texts and titles.

    `before` is a day in UTC, of which and after which nothing is shown.
    """

    entity_type: str | None = None
    entity_id: str | None = None
    status: MediaStatus | None = None
    storage_status: StorageStatus | None = None
    deleted: bool = False
    text: str | None = None
    before: date | None = None

    @property
    def below(self) -> UUID | None:
        """The id that all ids of media before the day are below."""
        return None if self.before is None else first_id_of(self.before)

    @property
    def may_change(self) -> bool:
        """Whether it asks for something that a medium was not necessarily from its upload on."""
        return self.status is not None or self.storage_status is not None or self.text is not None

    def asked(self) -> dict[str, str]:
        """As callers write it; `read_filter` makes the same of it."""
        asked: dict[str, str | None] = {
            "q": self.text,
            "entityType": self.entity_type,
            "entityId": self.entity_id,
            "status": self.status,
            "storageStatus": None if self.storage_status is None else self.storage_status.value,
            "before": None if self.before is None else self.before.isoformat(),
            "deleted": "true" if self.deleted else None,
        }
        return {name: value for name, value in asked.items() if value is not None}


def read_filter(asked: Mapping[str, str | None], *, within: str = "") -> MediaFilter:
    """What is absent or empty asks for nothing, other names are passed over.

    Raises InvalidFields naming every wrong field, behind `within`.
    """
    values = {name: (asked.get(name) or "").strip() for name in FILTERS}
    errors: list[FieldError] = []
    for name, known in _KNOWN.items():
        if values[name] and values[name] not in known:
            errors.append(FieldError(within + name, f"must be one of {', '.join(known)}"))
    for name, value in values.items():
        if "\0" in value:
            errors.append(FieldError(within + name, "must not have NUL characters"))
        elif len(value) > TEXT_MAX_CHARACTERS:
            errors.append(FieldError(within + name, f"must have at most {TEXT_MAX_CHARACTERS} characters"))
    before: date | None = None
    try:
        before = _day(values["before"]) if values["before"] else None
    except ValueError:
        errors.append(FieldError(within + "before", "must be a day since 1970 like 2026-05-31"))
    if errors:
        raise InvalidFields(*errors)
    return MediaFilter(
        entity_type=values["entityType"] or None,
        entity_id=values["entityId"] or None,
        status=_STATUS_OF[values["status"]] if values["status"] else None,
        storage_status=StorageStatus(values["storageStatus"]) if values["storageStatus"] else None,
        deleted=values["deleted"] == "true",
        text=values["q"] or None,
        before=before,
    )


def _day(value: str) -> date:
    day = date.fromisoformat(value)
    first_id_of(day)
    return day


def first_id_of(day: date) -> UUID:
    """The lowest id that a medium of this day (UTC) can have: ids begin with the milliseconds of their making.

    Raises ValueError for a day before 1970.
    """
    milliseconds = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    if milliseconds < 0:
        raise ValueError("ids begin with 1970")
    return UUID(int=milliseconds << 80)
