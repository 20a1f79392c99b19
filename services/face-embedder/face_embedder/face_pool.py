"""The pool of processes that look for faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from face_embedder import failures
from face_embedder.analysis import Analysis, FaceOrder
from shared.worker_pool import WorkerPool, WorkerPoolSettings, WorkerProgram

_PASSED: Final = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HOME")


class FacePool(WorkerPool[FaceOrder, Analysis]):
    """Looks at pictures in processes that have the models loaded; `engine` is the JSON of their EngineSettings."""

    def __init__(self, engine: str, settings: WorkerPoolSettings, threads: int) -> None:
        program = WorkerProgram("face_embedder.face_worker", (engine,), _PASSED, _thread_limits(threads))
        super().__init__(program, Analysis, failures, settings)


def _thread_limits(threads: int) -> Mapping[str, str]:
    """Libraries of numbers would otherwise each start a thread per core, in every process."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
