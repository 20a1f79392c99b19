"""From a picture's bytes to its faces, one at a time or many with all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from face_embedder.engine.decoding import ANALYSED_PX, PIXEL_LIMIT_PX, Decoded, decode
from face_embedder.engine.faces import Detection, Face, Floats, Pixels, Quality
from face_embedder.engine.pack import FacePack
from face_embedder.engine.quality import pose, sharpness
from shared.messaging.errors import PermanentError


class FaceEngine:
    """Analyses pictures in threads of its own: while one decodes, others infer. Close it when done.

    `workers` pictures are in hand at once, with one decoded picture each in memory. Loops of OpenCV's own threads are
    switched off in the whole process, because they would compete with the workers.
    """

    def __init__(
        self,
        pack: FacePack,
        workers: int,
        *,
        pixel_limit_px: int = PIXEL_LIMIT_PX,
        analysed_px: int = ANALYSED_PX,
    ) -> None:
        cv2.setNumThreads(1)
        self.pack = pack
        self._workers = workers
        self._pixel_limit_px = pixel_limit_px
        self._analysed_px = analysed_px
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="faces")

    def analyse(self, picture: bytes | Pixels | Decoded) -> list[Face]:
        """The faces of a picture's file, or of upright RGB pixels, best first; in the calling thread.

        Raises PermanentError for a file that is no picture, damaged, or too large.
        """
        decoded = self._decoded(picture)
        found = self.pack.detect(decoded.pixels)
        crops = [self.pack.align(decoded.pixels, detection) for detection in found]
        embeddings = self.pack.embed(crops)
        return [
            _face(detection, crop, embedding, decoded.reduction)
            for detection, crop, embedding in zip(found, crops, embeddings, strict=True)
        ]

    def _decoded(self, picture: bytes | Pixels | Decoded) -> Decoded:
        if isinstance(picture, Decoded):
            return picture
        if isinstance(picture, bytes):
            return decode(picture, self._pixel_limit_px, self._analysed_px)
        return Decoded(picture, reduction=1)

    def submit(self, picture: bytes | Pixels) -> Future[list[Face]]:
        """Analyse in one of the engine's threads; `asyncio.wrap_future` makes it awaitable."""
        return self._pool.submit(self.analyse, picture)

    def analyse_many(self, pictures: Iterable[bytes]) -> Iterator[list[Face] | PermanentError]:
        """What `analyse` returns or raises for each picture, in their order.

        Takes no more pictures from the iterable than the workers have use for, so it may read them from anywhere.
        """
        waiting: deque[Future[list[Face]]] = deque()
        try:
            for picture in pictures:
                waiting.append(self.submit(picture))
                if len(waiting) > 2 * self._workers:
                    yield _outcome(waiting.popleft())
            while waiting:
                yield _outcome(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """Finish what is in hand and give up what waits; blocks for a picture's time."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _outcome(future: Future[list[Face]]) -> list[Face] | PermanentError:
    try:
        return future.result()
    except PermanentError as error:
        return error


def _face(detection: Detection, crop: Pixels, embedding: Floats, reduction: int) -> Face:
    x1, y1, x2, y2 = (side * reduction for side in detection.box)
    return Face(
        box=(x1, y1, x2, y2),
        landmarks=tuple((float(x) * reduction, float(y) * reduction) for x, y in detection.landmarks),
        score=detection.score,
        quality=Quality(detection.size_px * reduction, sharpness(crop), pose(detection.landmarks)),
        embedding=np.ascontiguousarray(embedding, dtype=np.float32),
    )
