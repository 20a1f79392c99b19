"""Settings of image-processor, on top of those that every service has."""

from __future__ import annotations

import os

from pydantic import Field

from image_processor.rendering import DEFAULT_PIXEL_LIMIT_PX
from image_processor.variants import VariantSpec
from shared.settings import ServiceSettings
from shared.worker_pool import WorkerPoolSettings

MEBIBYTE = 2**20


class ImageProcessorSettings(ServiceSettings):
    """How many pictures at once, and what one picture may cost."""

    concurrency: int = Field(default=10, ge=1, description="pictures in hand at once; rendering is bound by workers")
    rerender_concurrency: int = Field(
        default=5, ge=1, description="stored pictures rendered anew at once; uploads go before them"
    )
    render_workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    render_seconds: float = Field(default=60.0, gt=0, description="wall time of one picture, then it is refused")
    render_memory_mebibytes: int = Field(default=1536, ge=256, description="per worker, then the picture is refused")
    render_niceness: int = Field(default=5, ge=0, le=19, description="added to the process's own")
    variants: dict[str, tuple[VariantSpec, ...]] = Field(
        default_factory=dict, description="by entity type, as JSON; types that are not named get the defaults"
    )
    pixel_limit_px: int = Field(default=DEFAULT_PIXEL_LIMIT_PX, ge=1, description="larger pictures are refused")
    webp_effort: int = Field(default=4, ge=0, le=6)
    keep_original: bool = Field(default=True, description="store the uploaded file beside its variants")
    staging_sweep_seconds: float = Field(default=60.0, gt=0)

    @property
    def deadline_seconds(self) -> float:
        """Of one attempt: waiting for a worker behind the other pictures in hand, rendering, storing."""
        rounds = -(-self.concurrency // self.render_workers)
        return self.render_seconds * (rounds + 1) + 60.0

    @property
    def rerender_deadline_seconds(self) -> float:
        """Beyond the longest wait for a worker: what uploads keep waiting is put off, and uses up no attempt."""
        return self.render_pool().wait_limit_seconds + self.deadline_seconds

    def render_pool(self) -> WorkerPoolSettings:
        return WorkerPoolSettings(
            workers=self.render_workers,
            time_limit_seconds=self.render_seconds,
            memory_limit_bytes=self.render_memory_mebibytes * MEBIBYTE,
            niceness=self.render_niceness,
        )
