"""The pool of processes that look for faces."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final, Self

from PIL import Image

from face_embedder import failures
from face_embedder.analysis import Analysis, FaceOrder
from face_embedder.engine_settings import EngineSettings
from face_embedder.packs import PackId, PacksAtHand
from shared.worker_pool import Urgency, WorkerPool, WorkerPoolSettings, WorkerProgram

_PASSED: Final = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HOME")


class FacePool(WorkerPool[FaceOrder, Analysis]):
    """Looks at pictures in processes that have the models of the wanted pack loaded.

    Those of the `previous` one, if there is one, a process loads when it is first asked for them. `packs` are known
    once the pool is open: the workers read the files.
    """

    packs: PacksAtHand

    def __init__(
        self, wanted: EngineSettings, previous: EngineSettings | None, settings: WorkerPoolSettings, threads: int
    ) -> None:
        engines = tuple(engine.model_dump_json() for engine in (wanted, previous) if engine is not None)
        program = WorkerProgram("face_embedder.face_worker", engines, _PASSED, _thread_limits(threads))
        super().__init__(program, Analysis, failures, settings)
        self._has_previous = previous is not None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            wanted = await self.run(FaceOrder(_blank()))
            previous = await self.run(FaceOrder(_blank(), uses_previous=True)) if self._has_previous else wanted
        except BaseException:
            await self.close(deadline_seconds=0)
            raise
        is_other = previous.pack_id != wanted.pack_id
        self.packs = PacksAtHand(wanted.pack_id, previous.pack_id if is_other else None)
        return self

    async def look(self, picture: bytes, pack: PackId, urgency: Urgency, *, makes_preview: bool = False) -> Analysis:
        """Find the faces of a picture with a pack that is at hand.

        Raises what `run` does, and TransientError where the files of the pack are others by now.
        """
        assert pack in self.packs, f"{pack} is not at hand"
        order = FaceOrder(picture, makes_preview, uses_previous=pack != self.packs.wanted)
        analysis = await self.run(order, urgency=urgency)
        if analysis.pack_id != pack:
            raise failures.pack_exchanged(str(pack), str(analysis.pack_id))
        return analysis


def _blank() -> bytes:
    """A picture of nobody."""
    encoded = io.BytesIO()
    Image.new("RGB", (64, 64)).save(encoded, "PNG")
    return encoded.getvalue()


def _thread_limits(threads: int) -> Mapping[str, str]:
    """Libraries of numbers would otherwise each start a thread per core, in every process."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
