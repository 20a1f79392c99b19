"""The worker process of `render_pool`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from PIL import Image

from image_processor.rendering import RenderJob, encode, render
from image_processor.variants import DEFAULT_VARIANTS, PictureFormat
from shared.worker_pool.worker import Work, serve

_ENCODERS: Final = 2


@contextmanager
def prepared(_: Sequence[str]) -> Iterator[Work]:
    """Renders with encoders of its own while cores are idle."""
    with ThreadPoolExecutor(_ENCODERS) as encoders:
        _warm_up(encoders)

        def work(job: RenderJob, cores_are_idle: bool) -> dict[str, Any]:
            return asdict(render(job, encoders if cores_are_idle else None))

        yield work


def _warm_up(encoders: Executor) -> None:
    """Run every step once, so that the first picture finds its plugins loaded and its code paths touched."""
    with tempfile.TemporaryDirectory(prefix="render-warm-up-") as folder:
        source = Path(folder, "source.jpg")
        source.write_bytes(encode(Image.new("RGB", (256, 192), "teal"), PictureFormat.JPEG, 80))
        render(RenderJob(source, Path(folder), DEFAULT_VARIANTS), encoders)


if __name__ == "__main__":
    serve(sys.argv[1:], prepared)
