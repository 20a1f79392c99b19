"""The face pack `lite` from its npm package, checked against our checksums: what face-embedder runs with by default.

`python -m deploy.local.face_models` fetches it into the cache folder, unless it is there, and prints the folder.
"""

from __future__ import annotations

import hashlib
import sys
import tarfile
import tempfile
from pathlib import Path

from deploy.local.cache import cache_folder, exclusive
from deploy.local.errors import StackError
from deploy.local.npm_package import fetch_package

PACKAGE = "faceplugin-face-recognition-js@0.0.1"
SUMS = Path(__file__).parents[2] / "services/face-embedder/face_embedder/engine/packs/lite.sha256"
_PACK = "lite"
_LARGEST_FILE_BYTES = 16 * 2**20


def models_folder() -> Path:
    """The folder to name with MEDIABUS_FACE_MODELS_FOLDER; it holds one folder for each pack."""
    return cache_folder() / "face-models"


def ensure_lite(models: Path) -> Path:
    """The folder of the pack, fetched by npm if need be, in seconds. Raises StackError."""
    sums = {name: digest for digest, name in (line.split() for line in SUMS.read_text().splitlines())}
    target = models / _PACK
    with exclusive(models):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=models, prefix="fetch-") as temporary:
                fetched = Path(temporary) / _PACK
                fetched.mkdir()
                package = fetch_package(PACKAGE, Path(temporary), purpose="the face pack lite")
                _unpack(package, fetched, sums)
                _verify(fetched, sums)
                # The rename makes the folder appear whole and checked.
                fetched.rename(target)
        _verify(target, sums)
    return target


def _unpack(package: Path, folder: Path, sums: dict[str, str]) -> None:
    with tarfile.open(package, "r:gz") as archive:
        for name in sums:
            try:
                member = archive.extractfile(f"package/model/{name}")
            except KeyError:
                member = None
            if member is None:
                raise StackError(f"{PACKAGE} holds no file model/{name}: it is not the package we know")
            with member, (folder / name).open("wb") as file:
                file.write(member.read(_LARGEST_FILE_BYTES))


def _verify(folder: Path, sums: dict[str, str]) -> None:
    for name, expected in sums.items():
        try:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            actual = "no such file"
        if actual != expected:
            raise StackError(
                f"{folder / name} is not the file we know: sha256 is {actual}, expected {expected}; "
                f"remove {folder} to fetch it again"
            )


if __name__ == "__main__":
    try:
        print(ensure_lite(models_folder()))
    except StackError as reason:
        sys.exit(f"error: {reason}")
