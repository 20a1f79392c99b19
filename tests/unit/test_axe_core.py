"""axe-core comes as the package we know, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.errors import StackError
from tests.browser.axe_core import PACKAGE, ensure_axe
from tests.unit.test_face_models import npm_that_packs


def test_another_package_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIABUS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(npm_that_packs(tmp_path, {"package/axe.min.js": b"another program"})))
    with pytest.raises(StackError, match="is not the package we know"):
        ensure_axe()
    assert [path.name for path in (tmp_path / "cache" / "axe-core").iterdir()] == ["filling.lock"]


def test_without_npm_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIABUS_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="npm is missing"):
        ensure_axe()


def test_what_is_there_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDIABUS_CACHE_DIR", str(tmp_path))
    kept = tmp_path / "axe-core" / f"{PACKAGE}.min.js"
    kept.parent.mkdir()
    kept.write_text("kept")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ensure_axe().read_text() == "kept"
