"""Which services the stack on one machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.topology import configured_topology


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDIABUS_CACHE_DIR", str(tmp_path))
    for name in ("PACK", "PACK_FOLDER", "MODELS_FOLDER"):
        monkeypatch.delenv(f"MEDIABUS_FACE_{name}", raising=False)
    return tmp_path


def has_faces() -> bool:
    return "face-embedder" in {service.name for service in configured_topology().services}


def test_faces_are_left_out_where_their_models_could_not_be_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_faces()
    monkeypatch.setenv("MEDIABUS_FACE_PACK", "buffalo_l")
    assert has_faces()
    monkeypatch.delenv("MEDIABUS_FACE_PACK")
    (cache / "face-models" / "lite").mkdir(parents=True)
    assert has_faces()
