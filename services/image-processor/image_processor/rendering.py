"""One picture file in, its variants out: the work of one worker process."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from PIL import Image

from image_processor.decoding import open_picture
from image_processor.resizing import resized
from image_processor.variants import PictureFormat, PlannedVariant, VariantSpec, plan
from image_processor.watermarking import Mark, Watermark, prepare, watermarked

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_PIXEL_LIMIT_PX: Final = 100_000_000
PLACEHOLDER_SIDE_PX: Final = 20
DEFAULT_WEBP_EFFORT: Final = 4
_AVIF_SPEED: Final = 6


@dataclass(frozen=True, slots=True)
class RenderJob:
    """What a worker is told: `output_dir` exists, belongs to this job alone and is removed by the caller.

    `webp_effort` is 0 (fast) to 6 (small): 2 takes half the time of 4 and gives files about 4 % larger.
    With `sync_files` every variant is on the disk, not only in memory, when the job is done; leave it off where the
    storing step writes its own synced copy.
    """

    source_path: Path
    output_dir: Path
    variants: tuple[VariantSpec, ...]
    pixel_limit_px: int = DEFAULT_PIXEL_LIMIT_PX
    webp_effort: int = DEFAULT_WEBP_EFFORT
    sync_files: bool = False
    watermark: Watermark | None = None


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """The uploaded picture as it was found; width and height are those of the upright picture."""

    mime_type: str
    size_bytes: int
    sha256: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class RenderedVariant:
    """One variant in the output directory. Variants of one size share a file (see `variants.plan`)."""

    name: str
    file_name: str
    mime_type: str
    width_px: int
    height_px: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RenderSpan:
    """A step of the work by the wall clock, in nanoseconds since 1970, for the parent's trace."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Rendition:
    """What came of one picture. `variants` are largest first; `placeholder` is a data URI of about 200 characters."""

    source: SourcePicture
    variants: tuple[RenderedVariant, ...]
    placeholder: str
    spans: tuple[RenderSpan, ...]
    cpu_seconds: float
    peak_memory_bytes: int

    @property
    def render_seconds(self) -> float:
        """Wall time from the first step to the end of the last."""
        return (max(span.end_ns for span in self.spans) - self.spans[0].start_ns) / 1e9


@dataclass(slots=True)
class _Stopwatch:
    spans: list[RenderSpan] = field(default_factory=list)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start_ns = time.time_ns()
        yield
        self.spans.append(RenderSpan(name, start_ns, time.time_ns()))


def render(job: RenderJob, encoders: Executor | None = None) -> Rendition:
    """Write every variant of the picture into the job's output directory.

    With `encoders`, variants are encoded side by side in its threads: the picture is done earlier for the same CPU
    time, which pays where cores would idle otherwise. Doing it twice gives the same bytes under the same names. Raises
    PermanentError for a picture that can never be rendered; MemoryError and OSError pass as they are.
    """
    stopwatch = _Stopwatch()
    cpu_before_seconds = time.process_time()
    with stopwatch.measure("hash"), job.source_path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
    with open_picture(job.source_path, job.pixel_limit_px) as picture:
        planned = plan(job.variants, picture.width_px, picture.height_px, _is_watermarked(job))
        source = SourcePicture(picture.type.value, size_bytes, sha256, picture.width_px, picture.height_px)
        with stopwatch.measure("decode"):
            image = picture.pixels(planned[0].width_px, planned[0].height_px)
    with stopwatch.measure("watermark") if job.watermark else nullcontext():
        mark = prepare(job.watermark) if job.watermark else None
    written, smallest = _write_files(planned, image, mark, job, stopwatch, encoders or _Inline())
    with stopwatch.measure("placeholder"):
        placeholder = _placeholder(smallest)
    files = {file_name: future.result() for file_name, future in written.items()}
    return Rendition(
        source=source,
        variants=tuple(replace(files[variant.file_name], name=variant.name) for variant in planned),
        placeholder=placeholder,
        spans=tuple(sorted(stopwatch.spans, key=lambda span: span.start_ns)),
        cpu_seconds=time.process_time() - cpu_before_seconds,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _is_watermarked(job: RenderJob) -> Callable[[str], bool]:
    return job.watermark.is_on if job.watermark else lambda name: False


class _Inline(Executor):
    """Does what it is given at once, in the caller's thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _write_files(
    planned: Sequence[PlannedVariant],
    image: Image.Image,
    mark: Mark | None,
    job: RenderJob,
    stopwatch: _Stopwatch,
    encoders: Executor,
) -> tuple[dict[str, Future[RenderedVariant]], Image.Image]:
    """Start writing every file of the plan, by its name; also the pixels of the smallest variant, without a mark."""

    def write(variant: PlannedVariant, pixels: Image.Image) -> RenderedVariant:
        if mark is not None and job.watermark is not None and variant.is_watermarked:
            with stopwatch.measure(f"watermark {variant.name}"):
                pixels = watermarked(pixels, mark, job.watermark)
        with stopwatch.measure(f"encode {variant.name}"):
            return _write(variant, encode(pixels, variant.format, variant.quality, job.webp_effort), job)

    written: dict[str, Future[RenderedVariant]] = {}
    for variant in planned:
        if variant.shares_file:
            continue
        size_px = (variant.width_px, variant.height_px)
        if image.size != size_px:
            with stopwatch.measure(f"resize {variant.name}"):
                image = resized(image, *size_px)
        elif written:
            image = image.copy()  # Pillow notes on the picture itself how it is being saved: one save at a time
        written[variant.file_name] = encoders.submit(write, variant, image)
    return written, image


def encode(
    image: Image.Image, picture_format: PictureFormat, quality: int, webp_effort: int = DEFAULT_WEBP_EFFORT
) -> bytes:
    """Encode pixels without any metadata. JPEG has no alpha: there the picture is laid on white.

    Raises MemoryError where an encoder says so in its own words.
    """
    buffer = io.BytesIO()
    try:
        _save(image, buffer, picture_format, quality, webp_effort)
    except (OSError, RuntimeError, ValueError) as error:
        if "memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise
    return buffer.getvalue()


def _save(
    image: Image.Image, buffer: io.BytesIO, picture_format: PictureFormat, quality: int, webp_effort: int
) -> None:
    match picture_format:
        case PictureFormat.WEBP:
            image.save(buffer, "WEBP", quality=quality, method=webp_effort)
        case PictureFormat.AVIF:
            image.save(buffer, "AVIF", quality=quality, speed=_AVIF_SPEED, max_threads=1)
        case PictureFormat.JPEG:
            _on_white(image).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    background = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(background, image).convert("RGB")


def _placeholder(image: Image.Image) -> str:
    """A picture of at most 20 px a side as a data URI, to be shown blurred while the real one loads."""
    scale = min(1.0, PLACEHOLDER_SIDE_PX / max(image.size))
    tiny = resized(image, max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    data = base64.b64encode(encode(tiny, PictureFormat.WEBP, quality=40)).decode("ascii")
    return f"data:{PictureFormat.WEBP.mime_type};base64,{data}"


def _write(variant: PlannedVariant, content: bytes, job: RenderJob) -> RenderedVariant:
    path = job.output_dir / variant.file_name
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        if job.sync_files:
            file.flush()
            os.fsync(file.fileno())
    part.rename(path)
    return RenderedVariant(
        name=variant.name,
        file_name=variant.file_name,
        mime_type=variant.format.mime_type,
        width_px=variant.width_px,
        height_px=variant.height_px,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
