"""What the page of pictures tells of each: how it fares, what it weighed, what its variants weigh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from shared.events import StoredFile

THUMBNAIL_PX = 400
"""The long side that a thumbnail should have at least, for screens of twice the usual density."""

PictureState = Literal["waiting", "active", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A medium with what its newest job tells. Without a job, after its retention, those facts are None."""

    id: UUID
    revision: int
    status: str
    filename: str
    title: str | None
    alt: str | None
    mime_type: str
    size_bytes: int
    width_px: int | None
    height_px: int | None
    entity_type: str
    private: bool
    storage_status: str
    variants: tuple[StoredFile, ...]
    placeholder: str | None
    created_at: datetime
    job_status: PictureState | None
    progress: int | None
    attempts: int | None
    error_code: str | None
    error_detail: str | None
    seconds_to_finish: float | None

    @property
    def state(self) -> PictureState:
        if self.status == "completed":
            return "completed"
        if self.status == "failed":
            return "failed"
        return "active" if self.job_status == "active" else "waiting"

    @property
    def is_unfinished(self) -> bool:
        return self.state in {"waiting", "active"}

    @property
    def reason(self) -> str | None:
        """Why it was refused, or why its last attempt failed."""
        if self.error_code is not None:
            return f"{self.error_detail} ({self.error_code})"
        return "The reason is no longer kept." if self.state == "failed" else None

    @property
    def thumbnail(self) -> StoredFile | None:
        """The smallest variant that is large enough, else the largest."""
        by_size = sorted(self.variants, key=_long_side_px)
        return next((file for file in by_size if _long_side_px(file) >= THUMBNAIL_PX), by_size[-1] if by_size else None)

    @property
    def largest(self) -> StoredFile | None:
        return max(self.variants, key=_long_side_px, default=None)

    def share_percent(self, file: StoredFile) -> int:
        """A file's size in percent of the upload's, rounded."""
        return round(100 * file.size_bytes / max(1, self.size_bytes))

    def difference(self, file: StoredFile) -> str:
        """How much smaller than the upload a file is, in words."""
        if file.size_bytes == self.size_bytes:
            return "same size"
        percent = 100 * abs(file.size_bytes - self.size_bytes) / max(1, self.size_bytes)
        if file.size_bytes > self.size_bytes:
            return f"{percent:.0f} % larger"
        # Rounded down: nothing is 100 % smaller.
        return f"{math.floor(10 * percent) / 10:.1f} % smaller" if percent > 98 else f"{percent:.0f} % smaller"


def _long_side_px(file: StoredFile) -> int:
    return max(file.width_px, file.height_px)


def any_unfinished(pictures: Sequence[Picture]) -> bool:
    return any(picture.is_unfinished for picture in pictures)
