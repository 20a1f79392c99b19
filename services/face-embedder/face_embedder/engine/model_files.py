"""The files of a pack: read once, checked against the checksums we know, and named by what they hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from face_embedder import errors


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file as it was read: what is checked is what is loaded."""

    path: Path
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def known_sums(pack: str) -> dict[str, str]:
    """The files of a pack by name, with their SHA-256, as this service's folder `packs` lists them."""
    lines = (Path(__file__).with_name("packs") / f"{pack}.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def read_known(folder: Path, sums: dict[str, str]) -> dict[str, ModelFile]:
    """Read the files of a pack. Raises EngineError for one that is missing or is not the one we know."""
    files = read_own(folder, list(sums))
    for name, file in files.items():
        if file.sha256 != sums[name]:
            raise errors.model_not_the_known_one(file.path, file.sha256, sums[name])
    return files


def read_own(folder: Path, names: list[str]) -> dict[str, ModelFile]:
    """Read files that the operator vouches for. Raises EngineError for one that is missing."""
    files = {}
    for name in names:
        path = folder / name
        try:
            files[name] = ModelFile(path, path.read_bytes())
        except OSError as error:
            raise errors.model_missing(path) from error
    return files


def version_of(files: dict[str, ModelFile], sums: dict[str, str], release: str) -> str:
    """The release's name for the files we know, and for others a name made of their checksums.

    Embeddings of different versions are never compared, so other weights must never go by the same name.
    """
    found = {name: file.sha256 for name, file in files.items()}
    if found == sums:
        return release
    return "sha256-" + hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]
