"""What a worker process needs to open the engine."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class EngineSettings(BaseModel):
    """Which models, how they run, and how large a picture may be."""

    model_config = ConfigDict(frozen=True)

    pack: str
    models_folder: Path | None
    pack_folder: Path | None
    accept_noncommercial: bool
    provider: str
    threads: int
    pixel_limit_px: int
