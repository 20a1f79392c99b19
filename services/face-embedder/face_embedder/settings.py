"""Settings of face-embedder, on top of those that every service has."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from face_embedder.engine_settings import EngineSettings
from shared.settings import ServiceSettings
from shared.worker_pool import WorkerPoolSettings

MEBIBYTE = 2**20


class FaceEmbedderSettings(ServiceSettings):
    """Which models look, at how many photos at once, and what one photo may cost."""

    face_pack: str = Field(default="lite", description="lite, or buffalo_l where its licence allows it")
    face_models_folder: Path | None = Field(default=None, description="holds a folder for each pack that we know")
    face_pack_folder: Path | None = Field(default=None, description="files of the pack that the operator vouches for")
    face_accept_noncommercial_models: bool = Field(
        default=False, description="the use is one that the licence of buffalo_l allows"
    )
    face_pack_revision: int = Field(
        default=1, ge=1, description="raise it to go back to a pack that another one has taken the place of"
    )
    face_previous_pack: str | None = Field(
        default=None, description="the pack that FACE_PACK takes the place of; searches use it until all events changed"
    )
    face_previous_pack_folder: Path | None = Field(default=None, description="like FACE_PACK_FOLDER, of the previous")
    face_provider: str = Field(default="CPU", description="of ONNX Runtime: CPU, CUDA, ...")
    face_workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    face_threads: int = Field(default=1, ge=1, description="of one worker; more make a single photo faster")
    face_seconds: float = Field(default=60.0, gt=0, description="wall time of one photo, then it is refused")
    face_memory_mebibytes: int = Field(default=2048, ge=256, description="per worker, then the photo is refused")
    face_niceness: int = Field(default=5, ge=0, le=19, description="added to the process's own")
    pixel_limit_px: int = Field(default=100_000_000, ge=1, description="larger photos are refused")
    photo_limit_bytes: int = Field(default=64 * MEBIBYTE, ge=1, description="larger files are refused")

    listing_retry_seconds: float = Field(default=300.0, gt=0, description="before a failed listing is tried again")
    listings_at_once: int = Field(default=4, ge=1)
    task_hold_seconds: float = Field(default=60.0, gt=1, description="after so long a dead process's listing goes on")
    tasks_kept_seconds: float = Field(default=30 * 24 * 3600.0, gt=0, description="ended syncs")

    people_changes_kept_seconds: float = Field(
        default=90 * 24 * 3600.0, gt=0, description="for so long what was decided about people can be undone"
    )

    exact_search_faces: int = Field(
        default=20_000, ge=0, description="events with more faces are searched by their index"
    )

    @property
    def index_concurrency(self) -> int:
        """Some photos more than workers, so that they are fetched while others are looked at."""
        return self.face_workers + 2

    @property
    def index_seconds(self) -> float:
        """Of one attempt: waiting for a worker behind the others, looking, fetching and storing."""
        return self.face_seconds * 4 + 60.0

    @property
    def second_looks_at_once(self) -> int:
        """Photos that wait for a worker until no other photo does."""
        return self.face_workers

    def engine(self) -> EngineSettings:
        return self._engine(self.face_pack, self.face_pack_folder)

    def previous_engine(self) -> EngineSettings | None:
        """That of the pack which the wanted one takes the place of."""
        if self.face_previous_pack is None:
            return None
        return self._engine(self.face_previous_pack, self.face_previous_pack_folder)

    def _engine(self, pack: str, pack_folder: Path | None) -> EngineSettings:
        return EngineSettings(
            pack=pack,
            models_folder=self.face_models_folder,
            pack_folder=pack_folder,
            accept_noncommercial=self.face_accept_noncommercial_models,
            provider=self.face_provider,
            threads=self.face_threads,
            pixel_limit_px=self.pixel_limit_px,
        )

    def face_pool(self) -> WorkerPoolSettings:
        return WorkerPoolSettings(
            workers=self.face_workers,
            time_limit_seconds=self.face_seconds,
            start_limit_seconds=180.0,
            memory_limit_bytes=self.face_memory_mebibytes * MEBIBYTE,
            niceness=self.face_niceness,
        )
