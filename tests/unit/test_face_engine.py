"""Real faces are found and told apart: small ones, turned ones, in poor JPEGs; what is no face is not."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from face_embedder.engine import FaceEngine, PackOptions, Pose, open_pack
from face_embedder.engine.alignment import aligned
from face_embedder.engine.decoding import decode
from face_embedder.engine.insightface_models import arcface_template
from face_embedder.engine.quality import HEAD, pose
from shared.messaging.errors import PermanentError
from tests.face_scenes import match, packaged, scene

GROUP = packaged("insightface:data/images/t1.jpg")
ONE = packaged("skimage:data/astronaut.png")


@pytest.fixture(scope="module")
def engine(face_models: Path) -> Iterator[FaceEngine]:
    with FaceEngine(open_pack(PackOptions(models_folder=face_models)), workers=2) as engine:
        yield engine


def test_six_people_are_found_and_told_apart(engine: FaceEngine) -> None:
    faces = engine.analyse(GROUP.read_bytes())
    assert len(faces) == 6
    embeddings = np.stack([face.embedding for face in faces])
    similarities = embeddings @ embeddings.T
    assert np.allclose(np.diag(similarities), 1.0, atol=1e-5)
    assert similarities[~np.eye(6, dtype=bool)].max() < engine.pack.threshold - 0.05


@pytest.mark.parametrize(
    ("width_px", "height_px", "face_px", "orientation", "quality", "tilt_degrees"),
    [(640, 427, 40, 1, 85, 0), (480, 640, 44, 6, 60, 10), (1280, 853, 40, 8, 75, 10), (1600, 1067, 300, 3, 40, 5)],
)
def test_faces_from_forty_pixels_on_are_found_in_any_photo(
    engine: FaceEngine,
    width_px: int,
    height_px: int,
    face_px: int,
    orientation: int,
    quality: int,
    tilt_degrees: float,
) -> None:
    photo = scene(
        width_px, height_px, face_px, seed=4, orientation=orientation, quality=quality, tilt_degrees=tilt_degrees
    )
    faces = engine.analyse(photo.content)
    matching = match(photo.faces, [face.box for face in faces])
    assert [face.person for face, found in zip(photo.faces, matching.found, strict=True) if found is None] == []
    assert matching.false == ()


def test_a_person_is_recognised_on_another_photo_of_another_size(engine: FaceEngine) -> None:
    known = {}
    photo = scene(1280, 853, 130, seed=7)
    faces = engine.analyse(photo.content)
    for placed, found in zip(photo.faces, match(photo.faces, [face.box for face in faces]).found, strict=True):
        assert found is not None
        known[placed.person] = faces[found].embedding
    small = scene(900, 600, 60, seed=9, quality=70, tilt_degrees=8)
    faces = engine.analyse(small.content)
    for placed, found in zip(small.faces, match(small.faces, [face.box for face in faces]).found, strict=True):
        assert found is not None
        best = max(known, key=lambda person: float(known[person] @ faces[found].embedding))
        assert best == placed.person
        assert float(known[best] @ faces[found].embedding) > engine.pack.threshold


@pytest.mark.parametrize("photo", ["chelsea.png", "coffee.png", "text.png"])
def test_there_are_no_faces_where_nobody_is(engine: FaceEngine, photo: str) -> None:
    assert engine.analyse(packaged(f"skimage:data/{photo}").read_bytes()) == []


def test_tiny_and_endless_pictures_have_no_faces_and_break_nothing(engine: FaceEngine) -> None:
    for shape in ((1, 1, 3), (2, 3000, 3), (3000, 1, 3)):
        assert engine.analyse(np.zeros(shape, dtype=np.uint8)) == []


def test_quality_tells_a_sharp_frontal_face_from_a_small_one(engine: FaceEngine) -> None:
    (sharp,) = engine.analyse(ONE.read_bytes())
    assert sharp.quality.size_px == pytest.approx(113, abs=8)
    assert abs(sharp.quality.pose.yaw) < 15
    assert abs(sharp.quality.pose.pitch) < 25
    assert abs(sharp.quality.pose.roll) < 8
    pixels = decode(ONE.read_bytes()).pixels
    blocks = pixels[::3, ::3].repeat(3, axis=0).repeat(3, axis=1)
    blurred = ((blocks[:-2, :-2].astype(int) + blocks[1:-1, 1:-1] + blocks[2:, 2:]) // 3).astype(np.uint8)
    assert engine.analyse(blurred)[0].quality.sharpness < sharp.quality.sharpness / 2


def test_boxes_are_in_pixels_of_the_file_even_if_it_was_analysed_smaller(face_models: Path) -> None:
    pack = open_pack(PackOptions(models_folder=face_models))
    with FaceEngine(pack, workers=1, analysed_px=400_000) as reducing:
        faces = reducing.analyse(GROUP.read_bytes())
    centres = sorted((face.box[0] + face.box[2]) / 2 for face in faces)
    assert centres == pytest.approx([109, 319, 521, 795, 954, 1179], abs=12)


def test_many_pictures_come_back_in_order_and_a_bad_one_fails_alone(engine: FaceEngine) -> None:
    taken = []

    def photos() -> Iterator[bytes]:
        for number, content in enumerate(
            [ONE.read_bytes(), b"", GROUP.read_bytes(), b"no photo", ONE.read_bytes()] * 3
        ):
            taken.append(number)
            yield content

    outcomes = engine.analyse_many(photos())
    first = next(outcomes)
    assert len(taken) <= 6
    told = [outcome.code if isinstance(outcome, PermanentError) else len(outcome) for outcome in (first, *outcomes)]
    assert told == [1, "image_empty", 6, "image_unsupported", 1] * 3


def test_alignment_is_that_of_insightface() -> None:
    norm_crop = importlib.import_module("insightface.utils.face_align").norm_crop
    pixels = decode(ONE.read_bytes()).pixels
    points = np.array([[205, 107], [242, 105], [226, 128], [208, 147], [241, 146]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls what scikit-image will drop
        expected = norm_crop(pixels, points)
    difference = np.abs(aligned(pixels, points, arcface_template()).astype(int) - expected)
    assert difference.max() <= 2


@pytest.mark.parametrize("expected", [Pose(0, 0, 0), Pose(30, 0, 0), Pose(-20, 15, 10), Pose(10, -25, -30)])
def test_the_pose_of_a_usual_head_is_read_from_its_points(expected: Pose) -> None:
    found = pose(head_seen(expected))
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((expected.yaw, expected.pitch, expected.roll), abs=1)


def head_seen(looking: Pose) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The five points of the usual head that looks there, from far away."""
    yaw, pitch, roll = (np.radians(angle) for angle in (looking.yaw, looking.pitch, looking.roll))
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    lean = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    seen = HEAD @ (lean @ turn @ nod).T
    result: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = (seen[:, :2] * 1.7 + 200).astype(np.float32)
    return result
