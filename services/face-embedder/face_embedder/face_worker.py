"""The worker process of `face_pool`: loads the models once, then looks at one picture after another."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
from PIL import Image

from face_embedder.analysis import FaceOrder
from face_embedder.engine import Execution, Face, FaceEngine, FacePack, PackOptions, open_pack
from face_embedder.engine.decoding import decode
from face_embedder.engine_settings import EngineSettings
from face_embedder.errors import EngineError
from shared.worker_pool.worker import Work, serve

PREVIEW_SIDE_PX: Final = 640
PREVIEW_QUALITY: Final = 85
_CANNOT_START: Final = 3


@contextmanager
def prepared(arguments: Sequence[str]) -> Iterator[Work]:
    """Analyses with the packs of the settings; ends the process with a sentence where the first can't be opened.

    The second is opened by the first order for it: once every event has changed to the first, nobody asks any more.
    """
    settings = [EngineSettings.model_validate_json(argument) for argument in arguments]
    with ExitStack() as stack:
        opened = {False: _opened(settings[0], stack)}

        def work(order: FaceOrder, cores_are_idle: bool) -> dict[str, Any]:
            if order.uses_previous not in opened:
                opened[order.uses_previous] = _opened(settings[1], stack)
            pack, engine = opened[order.uses_previous]
            limit_px = settings[0].pixel_limit_px
            picture = made_preview(order.picture, limit_px) if order.makes_preview else order.picture
            decoded = decode(picture, limit_px)
            width_px, height_px = decoded.size_px
            return {
                "pack": pack.name,
                "pack_version": pack.version,
                "threshold": pack.threshold,
                "width_px": width_px,
                "height_px": height_px,
                "faces": [_told(face) for face in engine.analyse(decoded)],
                "preview": base64.b64encode(picture).decode() if order.makes_preview else None,
            }

        yield work


def _opened(settings: EngineSettings, stack: ExitStack) -> tuple[FacePack, FaceEngine]:
    try:
        pack = open_pack(_options(settings))
    except EngineError as error:
        print(f"the face engine can't be opened: {error}", file=sys.stderr, flush=True)
        raise SystemExit(_CANNOT_START) from error
    engine = stack.enter_context(FaceEngine(pack, 1, pixel_limit_px=settings.pixel_limit_px))
    engine.analyse(np.zeros((480, 640, 3), dtype=np.uint8))  # plans its memory
    return pack, engine


def _options(settings: EngineSettings) -> PackOptions:
    return PackOptions(
        pack=settings.pack,
        models_folder=settings.models_folder,
        pack_folder=settings.pack_folder,
        accept_noncommercial=settings.accept_noncommercial,
        execution=Execution(settings.provider, settings.threads),
    )


def made_preview(original: bytes, pixel_limit_px: int) -> bytes:
    """A JPEG of at most 640 pixels a side, upright and without metadata; the same bytes for the same original."""
    image = Image.fromarray(decode(original, pixel_limit_px).pixels)
    image.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX), Image.Resampling.LANCZOS)
    made = io.BytesIO()
    image.save(made, "JPEG", quality=PREVIEW_QUALITY)
    return made.getvalue()


def _told(face: Face) -> dict[str, Any]:
    return {
        "box": [float(side) for side in face.box],
        "landmarks": [float(coordinate) for point in face.landmarks for coordinate in point],
        "score": float(face.score),
        "size_px": float(face.quality.size_px),
        "sharpness": float(face.quality.sharpness),
        "yaw": float(face.quality.pose.yaw),
        "pitch": float(face.quality.pose.pitch),
        "roll": float(face.quality.pose.roll),
        "embedding": base64.b64encode(face.embedding.astype("<f4").tobytes()).decode(),
    }


if __name__ == "__main__":
    serve(sys.argv[1:], prepared)
