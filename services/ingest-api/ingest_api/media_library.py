"""What the media library shows: which media an address asks for, how each fares, and what its variants save."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from ingest_api.catalogue import Media
from ingest_api.cursors import id_of
from ingest_api.media_filters import FILTERS, MediaFilter, read_filter
from shared.events import StoredFile

TILES_PER_PAGE: Final = 48
"""A multiple of most numbers of columns, and more than most screens show."""
THUMBNAIL_PX: Final = 400
"""The long side that a thumbnail should have at least, for screens of twice the usual density."""

MediumState = Literal["waiting", "active", "completed", "failed"]
JobStatus = MediumState | Literal["cancelled"]


@dataclass(frozen=True, slots=True)
class LibraryView:
    """What an address asks for; `values` are its filters as the form shows them."""

    filter: MediaFilter
    after: UUID | None
    """The id behind which the page begins, newest first."""
    values: Mapping[str, str]

    @property
    def is_filtered(self) -> bool:
        return any(value for name, value in self.values.items() if name != "deleted")


def read_view(parameters: Mapping[str, str]) -> LibraryView:
    """Read the query of an address. Raises InvalidFields, and Problem for a cursor."""
    wanted = read_filter(parameters)
    values = {name: wanted.asked().get(name, "") for name in FILTERS}
    return LibraryView(wanted, id_of(parameters.get("cursor") or None), values)


@dataclass(frozen=True, slots=True)
class JobState:
    """How the newest job of a medium fares."""

    id: UUID
    status: JobStatus
    progress: int
    attempts: int
    error_code: str | None
    error_detail: str | None


@dataclass(frozen=True, slots=True)
class ShownMedium:
    """A medium with its newest job, as far as that is kept, and the addresses of its files."""

    media: Media
    job: JobState | None
    urls: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.media.title or self.media.filename

    @property
    def state(self) -> MediumState:
        if self.media.status != "processing":
            return self.media.status
        return "active" if self.job is not None and self.job.status == "active" else "waiting"

    @property
    def is_unfinished(self) -> bool:
        return self.media.status == "processing" or self.media.is_being_replaced

    @property
    def progress(self) -> int:
        return self.job.progress if self.job is not None else 0

    @property
    def thumbnail(self) -> StoredFile | None:
        """The smallest variant that is large enough, else the largest."""
        by_size = sorted(self.media.variants, key=long_side_px)
        return next((file for file in by_size if long_side_px(file) >= THUMBNAIL_PX), by_size[-1] if by_size else None)

    @property
    def largest(self) -> StoredFile | None:
        return max(self.media.variants, key=long_side_px, default=None)

    def share_percent(self, file: StoredFile) -> int:
        """A file's size in percent of the upload's, rounded."""
        return round(100 * file.size_bytes / max(1, self.media.size_bytes))

    def saved_percent(self, file: StoredFile) -> float:
        """How much smaller than the upload a file is; below zero where it is larger. Rounded towards nothing saved."""
        percent = 100 * (1 - file.size_bytes / max(1, self.media.size_bytes))
        # Nothing is 100 % smaller.
        return math.floor(10 * percent) / 10 if percent > 98 else round(percent)


def long_side_px(file: StoredFile) -> int:
    return max(file.width_px, file.height_px)
