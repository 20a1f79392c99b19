"""Packs are opened as they are set or refused with the remedy; no file is loaded that is not the one meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from face_embedder.engine import Execution, FaceEngine, FacePack, PackOptions, open_pack
from face_embedder.errors import EngineError
from tests.tiny_pack import write_tiny_pack


def refusal(options: PackOptions) -> EngineError:
    with pytest.raises(EngineError) as refused:
        open_pack(options)
    return refused.value


def test_weights_for_research_alone_are_refused_until_that_is_accepted(tmp_path: Path) -> None:
    refused = refusal(PackOptions("buffalo_l", models_folder=tmp_path))
    assert refused.code == "face_licence_not_accepted"
    assert "MEDIABUS_FACE_ACCEPT_NONCOMMERCIAL_MODELS" in refused.detail


def test_an_accepted_licence_does_not_make_other_weights_the_known_ones(tmp_path: Path) -> None:
    write_tiny_pack(tmp_path / "buffalo_l")
    refused = refusal(PackOptions("buffalo_l", models_folder=tmp_path, accept_noncommercial=True))
    assert refused.code == "face_model_not_known"


def test_a_model_with_one_other_byte_is_not_loaded(face_models: Path, tmp_path: Path) -> None:
    shutil.copytree(face_models / "lite", tmp_path / "lite")
    model = tmp_path / "lite" / "fr_feature.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    refused = refusal(PackOptions(models_folder=tmp_path))
    assert refused.code == "face_model_not_known"
    assert str(model) in refused.detail


def test_what_is_missing_or_no_model_is_named(face_models: Path, tmp_path: Path) -> None:
    assert refusal(PackOptions("huge")).code == "face_pack_unknown"
    assert refusal(PackOptions()).code == "face_models_folder_missing"
    assert refusal(PackOptions(models_folder=tmp_path)).code == "face_model_missing"
    shutil.copytree(face_models / "lite", tmp_path / "own")
    (tmp_path / "own" / "fr_landmark.onnx").write_bytes(b"no model")
    refused = refusal(PackOptions(pack_folder=tmp_path / "own"))
    assert refused.code == "face_model_unusable"
    assert "fr_landmark.onnx" in refused.detail


def test_a_detector_of_another_kind_is_refused(face_models: Path, tmp_path: Path) -> None:
    shutil.copytree(face_models / "lite", tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "fr_landmark.onnx", tmp_path / "fr_detect.onnx")
    assert refusal(PackOptions(pack_folder=tmp_path)).code == "face_model_unusable"


def test_a_provider_that_is_not_there_is_refused_by_name(face_models: Path) -> None:
    refused = refusal(PackOptions(models_folder=face_models, execution=Execution(provider="Quantum")))
    assert refused.code == "face_provider_unavailable"
    assert "CPUExecutionProvider" in refused.detail


def test_models_are_loaded_once(face_models: Path) -> None:
    assert open_pack(PackOptions(models_folder=face_models)) is open_pack(PackOptions(models_folder=face_models))


def test_the_version_follows_the_bytes_and_not_the_folder(face_models: Path, tmp_path: Path) -> None:
    known = open_pack(PackOptions(models_folder=face_models)).version
    assert open_pack(PackOptions(pack_folder=face_models / "lite")).version == known
    one, other = (
        open_pack(PackOptions("buffalo_l", pack_folder=write_tiny_pack(tmp_path / str(seed), seed))).version
        for seed in (1, 2)
    )
    assert one != other
    assert one.startswith("sha256-")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    folder = write_tiny_pack(tmp_path_factory.mktemp("tiny"))
    return open_pack(PackOptions("buffalo_l", pack_folder=folder))


def lamps(
    width_px: int, height_px: int, *corners_px: tuple[int, int], side_px: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A dark picture with bright squares, which the tiny detector takes for faces."""
    pixels = np.zeros((height_px, width_px, 3), dtype=np.uint8)
    for left, top in corners_px:
        pixels[top : top + side_px, left : left + side_px] = 255
    return pixels


def test_the_graphs_of_buffalo_run_through_insightfaces_own_classes(tiny: FacePack) -> None:
    # 640 pixels go in as they are; a cell of 32 reaches 0.6 of its side from its first pixel.
    with FaceEngine(tiny, workers=1) as engine:
        face, *others = engine.analyse(lamps(640, 480, (320, 224), side_px=32))
    assert others == []
    assert face.box == pytest.approx((300.8, 204.8, 339.2, 243.2), abs=0.1)
    assert face.landmarks[2] == pytest.approx((320.0, 224.0), abs=0.1)
    assert np.linalg.norm(face.embedding) == pytest.approx(1.0, abs=1e-5)
    assert face.embedding.shape == (512,)


def test_large_pictures_are_looked_at_in_parts_and_each_face_counts_once(tiny: FacePack) -> None:
    # At half size a lamp of 64 pixels fills a cell; the parts of 1280 pixels begin at multiples of 64 here.
    places = [(128, 128), (1600, 896), (2176, 1088)]
    found = tiny.detect(lamps(2560, 1280, *places, side_px=64))
    centres = sorted(tuple(round(float(value)) for value in face.landmarks[2]) for face in found)
    assert centres == places


def test_a_batch_gives_what_each_face_gives_alone(tiny: FacePack) -> None:
    chance = np.random.default_rng(5)
    crops = [chance.integers(0, 255, (112, 112, 3), dtype=np.uint8) for _ in range(40)]
    together = tiny.embed(crops)
    assert together.shape == (40, 512)
    alone = np.concatenate([tiny.embed([crop]) for crop in crops])
    assert np.abs(together - alone).max() < 1e-4
    assert tiny.embed([]).shape == (0, 512)
