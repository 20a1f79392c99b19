"""Group photos composed from real ones, with every face's place known: at any size, turned by EXIF, as any JPEG."""

from __future__ import annotations

import importlib.util
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from shared.testing.pictures import encoded

Box = tuple[float, float, float, float]

# Boxes drawn by hand around the faces, from brow to chin; the photos come with the packages.
_PHOTOS: dict[str, tuple[Box, ...]] = {
    "insightface:data/images/t1.jpg": (
        (267, 140, 370, 280),
        (466, 265, 576, 412),
        (746, 342, 844, 478),
        (904, 66, 1004, 202),
        (58, 270, 161, 399),
        (1133, 280, 1225, 395),
    ),
    "skimage:data/astronaut.png": ((180, 62, 266, 175),),
    "skimage:data/camera.png": ((198, 116, 254, 195),),
}
_WITHOUT_FACES = (
    "brick.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
_MARGIN = 0.4


@dataclass(frozen=True, slots=True)
class PlacedFace:
    """A face on a scene: whose it is, and its box in pixels."""

    person: str
    box: Box

    @property
    def size_px(self) -> float:
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Scene:
    content: bytes
    faces: tuple[PlacedFace, ...]


def packaged(photo: str) -> Path:
    """A photo by the package that it comes with, and its path in there."""
    package, _, path = photo.partition(":")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LookupError(f"{package} is not installed; install the development requirements")
    return Path(spec.origin).parent / path


def photos_without_faces() -> list[Path]:
    return [packaged(f"skimage:data/{name}") for name in _WITHOUT_FACES]


@lru_cache(maxsize=1)
def portraits() -> tuple[tuple[str, Image.Image, Box], ...]:
    """Every person with a part of the photo around the face, and the face's box on it."""
    found = []
    for photo, boxes in _PHOTOS.items():
        with Image.open(packaged(photo)) as opened:
            image = opened.convert("RGB")
        for number, (x1, y1, x2, y2) in enumerate(boxes):
            margin = _MARGIN * max(x2 - x1, y2 - y1)
            left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
            right, bottom = min(image.width, int(x2 + margin)), min(image.height, int(y2 + margin))
            part = image.crop((left, top, right, bottom))
            found.append((f"{Path(photo).stem}-{number}", part, (x1 - left, y1 - top, x2 - left, y2 - top)))
    return tuple(found)


def scene(
    width_px: int,
    height_px: int,
    face_px: float,
    *,
    seed: int,
    faces: int = 8,
    tilt_degrees: float = 0.0,
    orientation: int = 1,
    quality: int = 88,
) -> Scene:
    """A JPEG with as many of the faces as there is room for, each `face_px` high, on a picture without any.

    `orientation` is the EXIF orientation it is stored with; boxes are those of the upright picture.
    """
    chance = random.Random(seed)
    background = chance.choice(photos_without_faces())
    with Image.open(background) as opened:
        canvas = opened.convert("RGB").resize((width_px, height_px))
    placed: list[PlacedFace] = []
    taken: list[Box] = []
    for person, part, box in chance.sample(portraits(), k=len(portraits()))[:faces]:
        scale = face_px / (box[3] - box[1])
        small = part.resize((max(1, round(part.width * scale)), max(1, round(part.height * scale))), reducing_gap=3.0)
        spot = _free_spot(canvas.size, small.size, taken, chance)
        if spot is None:
            continue
        taken.append(spot)
        centre = ((box[0] + box[2]) / 2 * scale, (box[1] + box[3]) / 2 * scale)
        degrees = chance.uniform(-tilt_degrees, tilt_degrees)
        turned = small.rotate(degrees, Image.Resampling.BICUBIC, center=centre)
        canvas.paste(turned, (int(spot[0]), int(spot[1])), _kept_by_turning(small.size, centre, degrees))
        placed.append(PlacedFace(person, _shifted(box, scale, spot[0], spot[1])))
    return Scene(_stored(canvas, orientation, quality), tuple(placed))


def _kept_by_turning(size: tuple[int, int], centre: tuple[float, float], degrees: float) -> Image.Image:
    return Image.new("L", size, 255).rotate(degrees, center=centre)


def _shifted(box: Box, scale: float, left: float, top: float) -> Box:
    return (box[0] * scale + left, box[1] * scale + top, box[2] * scale + left, box[3] * scale + top)


def _free_spot(
    canvas_px: tuple[int, int], size_px: tuple[int, int], taken: list[Box], chance: random.Random
) -> Box | None:
    width_px, height_px = size_px
    if width_px > canvas_px[0] or height_px > canvas_px[1]:
        return None
    for _ in range(200):
        left, top = chance.randint(0, canvas_px[0] - width_px), chance.randint(0, canvas_px[1] - height_px)
        spot = (left, top, left + width_px, top + height_px)
        if not any(spot[0] < x2 and x1 < spot[2] and spot[1] < y2 and y1 < spot[3] for x1, y1, x2, y2 in taken):
            return spot
    return None


_TO_STORED = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def _stored(upright: Image.Image, orientation: int, quality: int) -> bytes:
    if orientation == 1:
        return encoded(upright, "JPEG", quality=quality)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(upright.transpose(_TO_STORED[orientation]), "JPEG", quality=quality, exif=exif)


@dataclass(frozen=True, slots=True)
class Matching:
    """What was found of a scene: for each face of it which of the found boxes is its, if any; boxes of no face."""

    found: tuple[int | None, ...]
    false: tuple[int, ...]


def match(scene_faces: tuple[PlacedFace, ...], boxes: list[Box], least_iou: float = 0.4) -> Matching:
    left = dict(enumerate(boxes))
    found: list[int | None] = []
    for face in scene_faces:
        best = max(left, key=lambda index: _iou(face.box, left[index]), default=None)
        if best is not None and _iou(face.box, left[best]) < least_iou:
            best = None
        if best is not None:
            del left[best]
        found.append(best)
    return Matching(tuple(found), tuple(left))


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other))
    return shared / (areas - shared)
