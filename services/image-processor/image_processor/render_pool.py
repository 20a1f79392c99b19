"""The pool of processes that render pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from image_processor import errors
from image_processor.rendering import RenderJob, Rendition
from shared.worker_pool import Urgency, WorkerPool, WorkerPoolSettings, WorkerProgram

_PROGRAM: Final = WorkerProgram("image_processor.render_worker")


class RenderPool(WorkerPool[RenderJob, Rendition]):
    """Renders pictures in `settings.workers` processes; use it as `async with RenderPool(settings) as pool`."""

    def __init__(self, settings: WorkerPoolSettings) -> None:
        super().__init__(_PROGRAM, Rendition, errors, settings)

    async def render(
        self, job: RenderJob, on_started: Callable[[], None] | None = None, *, is_urgent: bool = True
    ) -> Rendition:
        """Render one picture; `on_started` is called once, when a worker takes it.

        Raises PermanentError (a bad picture, or one beyond the time or memory limit), TransientError (the worker died,
        the machine was overloaded, a file could not be read), Postponed (the pool is closed, or no worker got free in
        time) or InfrastructureUnavailable (the disk is full).
        Cancelling it kills the worker that renders. After any of these `job.output_dir` may hold some of the files.
        """
        return await self.run(job, on_started, Urgency.AT_ONCE if is_urgent else Urgency.SOON)
