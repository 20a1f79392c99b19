"""Settings of s3-syncer, on top of those that every service has."""

from __future__ import annotations

from pydantic import Field

from shared.events import MediaSettings
from shared.settings import ServiceSettings
from shared.settings_feed import settings_of_environment


class S3SyncerSettings(ServiceSettings):
    """How much is moved at once, and how long work is held."""

    concurrency: int = Field(default=8, ge=1, description="batches in hand at once")
    files_in_flight: int = Field(default=20, ge=1, le=20, description="media at once per batch")
    transfers_in_flight: int = Field(
        default=32, ge=1, description="media at once in this process, by all batches; the bucket has 32 connections"
    )
    turn_seconds: float = Field(default=300.0, gt=0, description="a batch that takes longer goes on in another turn")
    hold_seconds: float = Field(default=120.0, gt=1, description="how long a dead process keeps a medium from others")
    scope_hold_seconds: float = Field(
        default=10.0, gt=1, description="how long a dead process keeps the file tasks of a scope from others"
    )
    file_retry_seconds: float = Field(default=2.0, gt=0, description="before the second of 5 attempts; then it doubles")
    removal_sweep_seconds: float = Field(
        default=60.0, gt=0, description="how often files are tried again that could not be removed"
    )
    local_first_concurrency: int = Field(default=4, ge=1, description="media at once, while no batch is in hand")
    local_first_poll_seconds: float = Field(default=1.0, gt=0)
    s3_auto_sync: bool = Field(default=True, description="off leaves local_first pictures on the disk alone")
    superseded_kept_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="how long files stay after a newer revision is shown; longer than presigned addresses are valid",
    )
    unfinished_uploads_kept_seconds: float = Field(
        default=24 * 3600, gt=0, description="older uploads in parts that nobody finished are aborted"
    )
    jobs_kept_seconds: float = Field(default=30 * 24 * 3600, gt=0, description="how long ended jobs are kept")

    def media_defaults(self) -> MediaSettings:
        """What holds until somebody changes the settings of all media."""
        return settings_of_environment(self).model_copy(update={"s3_auto_sync": self.s3_auto_sync})
