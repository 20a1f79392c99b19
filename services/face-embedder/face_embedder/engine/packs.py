"""Which pack is opened, and where its files come from."""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from face_embedder import errors
from face_embedder.engine import buffalo_l, lite
from face_embedder.engine.execution import Execution
from face_embedder.engine.model_files import ModelFile, known_sums, read_known, read_own
from face_embedder.engine.pack import FacePack

PACKS: Final = (lite.NAME, buffalo_l.NAME)


@dataclass(frozen=True, slots=True)
class PackOptions:
    """A pack by name, and how it is run.

    `models_folder` holds a folder for each pack with the files we know; `pack_folder` is the operator's own folder for
    this pack, whose files are used as they are, under a version named after their checksums.
    """

    pack: str = lite.NAME
    models_folder: Path | None = None
    pack_folder: Path | None = None
    accept_noncommercial: bool = False
    execution: Execution = field(default_factory=Execution)


_open: Final[dict[PackOptions, FacePack]] = {}
_opening: Final = threading.Lock()


def open_pack(options: PackOptions) -> FacePack:
    """The pack, loaded once per process for the same options; blocks for seconds the first time.

    Raises EngineError where the licence was not accepted, or a file is missing or not the one we know.
    """
    with _opening:
        if options not in _open:
            _open[options] = _opened(options)
        return _open[options]


def _opened(options: PackOptions) -> FacePack:
    if options.pack == lite.NAME:
        return lite.LitePack(_files(options, lite.FILES), options.execution)
    if options.pack == buffalo_l.NAME:
        return buffalo_l.BuffaloPack(_files(options, buffalo_l.FILES), options.execution)
    raise errors.unknown_pack(options.pack, list(PACKS))


def _files(options: PackOptions, names: tuple[str, ...]) -> dict[str, ModelFile]:
    if options.pack_folder is not None:
        return read_own(options.pack_folder, list(names))
    if options.pack == buffalo_l.NAME and not options.accept_noncommercial:
        raise errors.licence_not_accepted(options.pack)
    if options.models_folder is None:
        raise errors.models_folder_not_set(options.pack)
    folder = options.models_folder / options.pack
    if options.pack == buffalo_l.NAME and not folder.is_dir():
        _download(options.pack, options.models_folder)
    return read_known(folder, known_sums(options.pack))


def _download(pack: str, models_folder: Path) -> None:
    """Let InsightFace fetch its pack into `models_folder/pack`; it asks for no licence, so we do."""
    ensure_available = importlib.import_module("insightface.utils").ensure_available
    try:
        ensure_available(models_folder.name, pack, root=str(models_folder.parent))
    except Exception as error:  # whatever the network, the disk or the archive had against it
        raise errors.download_failed(pack, f"{type(error).__name__}: {error}"[:300]) from error
