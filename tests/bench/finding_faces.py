"""The face engine alone: photos per second against a bare loop, recall by size, and how far people lie apart."""

from __future__ import annotations

import importlib
import io
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final
from uuid import UUID

import cv2
import numpy as np
from PIL import Image

from deploy.local.face_models import ensure_lite, models_folder
from face_embedder.engine import Face, FaceEngine, PackOptions, open_pack
from face_embedder.engine.alignment import aligned
from face_embedder.engine.boxes import distinct
from face_embedder.engine.insightface_models import arcface_template
from face_embedder.engine.lite import five_of_68
from face_embedder.likeness import Grouping, Placed, WaitingFace, bars_of, is_clear
from face_embedder.sorting import after_unions, photos_of
from shared.identifiers import new_id
from shared.messaging.errors import PermanentError
from tests.bench.figures import Figure, Goal
from tests.face_scenes import Scene, match, scene

_SIZES_PX: Final = (20, 24, 28, 32, 40, 48, 64, 100, 200, 320)
_SMALLEST_WANTED_PX: Final = 40
_ORDERS: Final = 3
_SORTED_AT_ONCE: Final = 100
# Width, height, JPEG quality, EXIF orientation, tilt in degrees.
_KINDS: Final = (
    (640, 427, 85, 1, 0.0),
    (640, 480, 50, 6, 10.0),
    (427, 640, 70, 1, 10.0),
    (1280, 853, 75, 8, 15.0),
    (2000, 1333, 92, 3, 5.0),
)


def measure_faces(rounds: int, photos: int) -> list[Figure]:
    """Needs the pack lite; takes a minute or so on two quiet cores."""
    pack = open_pack(PackOptions(models_folder=ensure_lite(models_folder()).parent))
    with FaceEngine(pack, workers=len(os.sched_getaffinity(0))) as engine:
        return [*_speed(engine, rounds, photos), *_recall(engine)]


def _speed(engine: FaceEngine, rounds: int, photos: int) -> list[Figure]:
    previews = [scene(640, 427, 60 + seed % 60, seed=seed, faces=1 + seed % 5).content for seed in range(photos)]
    bare = BareLoop()
    contenders: dict[str, Callable[[], object]] = {
        "bare": lambda: [bare.analyse(preview) for preview in previews],
        "one": lambda: [engine.analyse(preview) for preview in previews],
        "many": lambda: list(engine.analyse_many(previews)),
    }
    for preview in previews[:2]:
        bare.analyse(preview)
        engine.analyse(preview)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        # In turns, so that a busy machine is unfair to all alike.
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))

    milliseconds = {name: 1000 * statistics.median(values) / photos for name, values in seconds.items()}
    return [
        Figure("all cores, a preview of 640 px", milliseconds["many"], "ms", remark="1 to 5 faces"),
        Figure("one by one", milliseconds["one"], "ms"),
        Figure("bare loop", milliseconds["bare"], "ms", remark="one look, face by face, the runtime's own threads"),
        Figure("all cores against one by one", ratio("one", "many"), "x", Goal(">=", 1.5)),
        Figure("all cores against the bare loop", ratio("bare", "many"), "x", remark="which finds fewer faces"),
    ]


class BareLoop:
    """What one writes with the pack's models in an hour: the files as they come, one picture and one face at a time.

    ONNX Runtime is left to its own settings, so every run has all cores. One look at each picture, reduced to the
    detector's size: less work than the engine's looks, and small faces are not found.
    """

    def __init__(self) -> None:
        folder = ensure_lite(models_folder())
        runtime = importlib.import_module("onnxruntime")
        self._detect, self._landmark, self._feature = (
            runtime.InferenceSession(str(folder / f"fr_{name}.onnx")) for name in ("detect", "landmark", "feature")
        )
        arcface = importlib.import_module("insightface.model_zoo.arcface_onnx").ArcFaceONNX
        self._arcface: Any = arcface(str(folder / "fr_feature.onnx"), self._feature)
        self._template = arcface_template()

    def analyse(self, content: bytes) -> list[Any]:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.array(image.convert("RGB"))
        height_px, width_px = pixels.shape[:2]
        shown = (cv2.resize(pixels, (320, 240)).astype(np.float32) - 127) / 128
        scores, boxes = self._detect.run(None, {"input": shown.transpose(2, 0, 1)[None]})
        likely = scores[0, :, 1] > 0.65
        boxes, scores = boxes[0][likely] * np.array([width_px, height_px] * 2, np.float32), scores[0, likely, 1]
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return [self._embedded(pixels, grey, box) for box in boxes[distinct(boxes, scores)]]

    def _embedded(self, pixels: Any, grey: Any, box: Any) -> Any:
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * 1.1
        x1, y1 = np.maximum(centre - half, 0).astype(int)
        x2, y2 = np.minimum(centre + half, [pixels.shape[1], pixels.shape[0]]).astype(int)
        part = cv2.resize(grey[y1:y2, x1:x2], (64, 64)).astype(np.float32)[None, None] / 256
        points = self._landmark.run(None, {self._landmark.get_inputs()[0].name: part})[0].reshape(68, 2)
        points = (points * [x2 - x1, y2 - y1] + [x1, y1]).astype(np.float32)
        return self._arcface.get_feat(aligned(pixels, five_of_68(points), self._template)[:, :, ::-1])


def _recall(engine: FaceEngine) -> list[Figure]:
    figures, false, looked_at = [], 0, 0
    known: list[tuple[str, Face]] = []
    everybody: list[_Seen] = []
    for size_px in _SIZES_PX:
        scenes = [
            scene(
                width,
                height,
                size_px,
                seed=1000 * size_px + number,
                quality=quality,
                orientation=turn,
                tilt_degrees=tilt,
            )
            for number, (width, height, quality, turn, tilt) in enumerate(_KINDS * 2)
        ]
        outcomes = list(engine.analyse_many(each.content for each in scenes))
        hits, wanted, more_false, people = _found(scenes, outcomes)
        everybody += _seen(scenes, outcomes)
        false, looked_at = false + more_false, looked_at + len(scenes)
        goal = Goal("=", 1.0) if size_px >= _SMALLEST_WANTED_PX else None
        figures.append(Figure(f"recall, faces of {size_px} px", hits / wanted, "", goal, f"{hits} of {wanted}"))
        if size_px >= _SMALLEST_WANTED_PX:
            known += people
    figures.append(Figure("found where nobody is", false, "faces", remark=f"on {looked_at} photos"))
    return [*figures, *_apart(known, engine.pack.threshold), *_people(everybody, engine.pack.name)]


def _found(
    scenes: Sequence[Scene], outcomes: Iterable[list[Face] | PermanentError]
) -> tuple[int, int, int, list[tuple[str, Face]]]:
    hits = wanted = false = 0
    people = []
    for each, faces in zip(scenes, outcomes, strict=True):
        if isinstance(faces, PermanentError):
            raise faces
        matching = match(each.faces, [face.box for face in faces])
        found = [
            (placed.person, faces[i]) for placed, i in zip(each.faces, matching.found, strict=True) if i is not None
        ]
        hits, wanted, false = hits + len(found), wanted + len(each.faces), false + len(matching.false)
        people += found
    return hits, wanted, false, people


def _apart(people: list[tuple[str, Face]], threshold: float) -> list[Figure]:
    same: list[float] = []
    different: list[float] = []
    for (one, face), (other, another) in combinations(people, 2):
        (same if one == other else different).append(float(face.embedding @ another.embedding))
    low_same, high_different = np.percentile(same, [1, 5, 50]), np.percentile(different, [50, 99])
    return [
        Figure("same person, 1st percentile", low_same[0], "", remark=f"{len(same)} pairs of one photo's copies"),
        Figure("same person, 5th percentile", low_same[1], ""),
        Figure("same person, median", low_same[2], ""),
        Figure("different people, median", high_different[0], "", remark=f"{len(different)} pairs"),
        Figure("different people, 99th percentile", high_different[1], ""),
        Figure("different people, highest", max(different), ""),
        Figure(
            "same person at the threshold", sum(s >= threshold for s in same) / len(same), "", remark=f"{threshold}"
        ),
        Figure("different people at the threshold", sum(s >= threshold for s in different) / len(different), ""),
    ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A face that was found: whose it is, None where nobody is, and on which photo."""

    person: str | None
    photo_id: UUID
    face: Face


def _seen(scenes: Sequence[Scene], outcomes: Sequence[list[Face] | PermanentError]) -> list[_Seen]:
    seen = []
    for each, faces in zip(scenes, outcomes, strict=True):
        assert not isinstance(faces, PermanentError)
        matching = match(each.faces, [face.box for face in faces])
        person_of = {index: placed.person for placed, index in zip(each.faces, matching.found, strict=True)}
        photo_id = new_id()
        seen += [_Seen(person_of.get(index), photo_id, face) for index, face in enumerate(faces)]
    return seen


def _people(seen: Sequence[_Seen], pack: str) -> list[Figure]:
    """The people that are found among all faces, small ones too, by pairs of faces: in several orders the worst."""
    clear = [is_clear(one.face.quality.size_px, one.face.quality.sharpness, one.face.quality.pose.yaw) for one in seen]
    found = [_sorted_people(seen, clear, pack, random.Random(order)) for order in range(_ORDERS)]
    real = [one.person for one in seen]
    pairs = [(one, other) for one, other in combinations(range(len(seen)), 2)]
    same = [(one, other) for one, other in pairs if real[one] is not None and real[one] == real[other]]
    precision, recall, recall_clear, people = [], [], [], []
    for whose in found:
        joined = [(one, other) for one, other in pairs if whose[one] is not None and whose[one] == whose[other]]
        right = {(one, other) for one, other in joined if real[one] is not None and real[one] == real[other]}
        among_clear = [(one, other) for one, other in same if clear[one] and clear[other]]
        precision.append(len(right) / len(joined))
        recall.append(len(right) / len(same))
        recall_clear.append(sum(pair in right for pair in among_clear) / len(among_clear))
        people.append(len(set(whose) - {None}))
    return [
        Figure(
            "people, precision of pairs", min(precision), "", Goal(">=", 0.99), f"{len(seen)} faces, {sum(clear)} clear"
        ),
        Figure("people, recall of pairs of clear faces", min(recall_clear), "", Goal(">=", 0.95)),
        Figure("people, recall of all pairs", min(recall), "", remark="the others are nobody's"),
        Figure("people found", max(people), "", remark=f"of {len(set(real) - {None})}"),
    ]


def _sorted_people(seen: Sequence[_Seen], clear: Sequence[bool], pack: str, chance: random.Random) -> list[UUID | None]:
    """Whose each face is found to be, some at a time as they come."""
    waiting = [
        WaitingFace(new_id(), one.photo_id, is_it, one.face.embedding) for one, is_it in zip(seen, clear, strict=True)
    ]
    photo_of = {face.face_id: face.photo_id for face in waiting}
    grouping = Grouping(bars_of(pack), [], ())
    placed: list[Placed] = []
    order = chance.sample(waiting, len(waiting))
    for start in range(0, len(order), _SORTED_AT_ONCE):
        placed += grouping.place(order[start : start + _SORTED_AT_ONCE], _on_photos(placed, photo_of), new_id)
        known: dict[UUID, set[UUID]] = {one.person_id: set() for one in placed if one.person_id is not None}
        placed = after_unions(placed, grouping.unite(photos_of(placed, waiting, known, ())))
    whose = {one.face_id: one.person_id for one in placed}
    left = [face for face in waiting if whose[face.face_id] is None]
    whose |= {one.face_id: one.person_id for one in grouping.place(left, _on_photos(placed, photo_of), new_id)}
    return [whose[face.face_id] for face in waiting]


def _on_photos(placed: Sequence[Placed], photo_of: Mapping[UUID, UUID]) -> dict[UUID, set[UUID]]:
    people: dict[UUID, set[UUID]] = {}
    for one in placed:
        if one.person_id is not None:
            people.setdefault(photo_of[one.face_id], set()).add(one.person_id)
    return people
