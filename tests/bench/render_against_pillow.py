"""Pictures per second of the render pool over 12-megapixel JPEGs, against bare Pillow and against sharp.

All three make the same variants of the same files in as many processes, in turns, so that a busy machine is unfair to
all alike; ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Protocol

from PIL import Image, ImageOps

from deploy.local.cache import cache_folder, exclusive
from image_processor.render_pool import RenderPool
from image_processor.rendering import DEFAULT_WEBP_EFFORT, RenderJob
from image_processor.variants import DEFAULT_VARIANTS
from shared.testing.pictures import real_photos, twelve_megapixel_jpeg
from shared.worker_pool import WorkerPoolSettings

_SHARP_VERSION: Final = "0.35.5"
_TILES: Final = ("coffee.png", "rocket.jpg", "t1.jpg", "motorcycle_left.png")
_GOAL_AGAINST_PILLOW: Final = 0.9
_BULLMQ_PICTURES_PER_SECOND: Final = 3.0
_BULLMQ_CPU_MS: Final = 626.0


class Contender(Protocol):
    """Someone who renders pictures in several processes."""

    name: str

    async def __aenter__(self) -> Contender: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def render(self, pictures: Sequence[Path]) -> None:
        """Render all of these and return when the last is done."""

    def cpu_seconds(self) -> float:
        """What all processes have used so far, this one's share of the work included."""


class OurPool:
    name = "render pool"

    def __init__(self, processes: int, output_dir: Path) -> None:
        self._pool = RenderPool(WorkerPoolSettings(workers=processes, niceness=0))
        self._output_dir = output_dir

    async def __aenter__(self) -> OurPool:
        await self._pool.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close(deadline_seconds=10)

    async def render(self, pictures: Sequence[Path]) -> None:
        await asyncio.gather(*(self._render(picture) for picture in pictures))

    async def _render(self, picture: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self._output_dir) as folder:
            await self._pool.render(RenderJob(picture, Path(folder), DEFAULT_VARIANTS))

    def cpu_seconds(self) -> float:
        return time.process_time() + sum(map(_cpu_seconds, self._pool.worker_pids))


class BarePillow:
    name = "bare Pillow"

    def __init__(self, processes: int, output_dir: Path) -> None:
        self._executor = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
        self._processes = processes
        self._output_dir = output_dir
        self._pids: set[int] = set()

    async def __aenter__(self) -> BarePillow:
        loop = asyncio.get_running_loop()
        while len(self._pids) < self._processes:
            self._pids.add(await loop.run_in_executor(self._executor, os.getpid))
            await asyncio.gather(*(loop.run_in_executor(self._executor, time.sleep, 0.05) for _ in range(8)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._executor.shutdown()

    async def render(self, pictures: Sequence[Path]) -> None:
        loop = asyncio.get_running_loop()
        tasks = (loop.run_in_executor(self._executor, render_barely, path, self._output_dir) for path in pictures)
        await asyncio.gather(*tasks)

    def cpu_seconds(self) -> float:
        return sum(map(_cpu_seconds, self._pids))


def render_barely(picture: Path, output_dir: Path) -> None:
    """The shortest way to the same variants with Pillow: draft, upright, each variant from the one before."""
    with Image.open(picture) as opened:
        width_px = DEFAULT_VARIANTS[0].width_px
        opened.draft(None, (width_px, width_px * opened.height // opened.width))
        image = ImageOps.exif_transpose(opened)
        for spec in DEFAULT_VARIANTS:
            if spec.width_px < image.width:
                size_px = (spec.width_px, round(image.height * spec.width_px / image.width))
                image = image.resize(size_px, Image.Resampling.LANCZOS)
            path = output_dir / f"{os.getpid()}-{spec.name}.webp"
            image.save(path, quality=spec.quality, method=DEFAULT_WEBP_EFFORT)


class Sharp:
    name = "sharp"

    def __init__(self, processes: int, output_dir: Path, modules: Path) -> None:
        self._count = processes
        self._output_dir = output_dir
        self._modules = modules
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Sharp:
        variants = json.dumps(
            [
                {"name": v.name, "width_px": v.width_px, "quality": v.quality, "effort": DEFAULT_WEBP_EFFORT}
                for v in DEFAULT_VARIANTS
            ]
        )
        script = Path(__file__).with_name("sharp_worker.mjs")
        for number in range(self._count):
            folder = self._output_dir / f"sharp-{number}"
            folder.mkdir()
            process = await asyncio.create_subprocess_exec(
                *("node", str(script), str(self._modules), str(folder), variants),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._processes.append(process)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()

    async def render(self, pictures: Sequence[Path]) -> None:
        left = list(reversed(pictures))
        await asyncio.gather(*(self._take(process, left) for process in self._processes))

    async def _take(self, process: asyncio.subprocess.Process, left: list[Path]) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the node process has no pipes")
        while left:
            process.stdin.write(json.dumps([str(left.pop())]).encode() + b"\n")
            await process.stdin.drain()
            if (await process.stdout.readline()).strip() != b"done":
                raise RuntimeError("sharp failed; its error stands above")

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(process.pid) for process in self._processes)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def install_sharp() -> Path | None:
    """The folder with sharp in it, installed by npm when first asked for; None without node and npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    folder = cache_folder() / f"bench-sharp-{_SHARP_VERSION}"
    with exclusive(folder):
        if not (folder / "node_modules" / "sharp" / "package.json").is_file():
            (folder / "package.json").write_text('{"private": true}')
            npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", f"sharp@{_SHARP_VERSION}"]
            subprocess.run(npm, cwd=folder, check=True, timeout=300)
    return folder


@dataclass(slots=True)
class Figures:
    """What one contender reached, one entry per round."""

    pictures_per_second: list[float] = field(default_factory=list)
    cpu_ms_per_picture: list[float] = field(default_factory=list)


async def measure(rounds: int, pictures_per_round: int, processes: int) -> dict[str, Figures]:
    """Let every contender render the same pictures, round by round in turns."""
    modules = install_sharp()
    if modules is None:
        print("sharp is left out: node and npm are not installed")
    with tempfile.TemporaryDirectory(prefix="render-bench-") as scratch:
        pictures = list(islice(cycle(twelve_megapixel_files(Path(scratch))), pictures_per_round))
        contenders: list[Contender] = [OurPool(processes, Path(scratch)), BarePillow(processes, Path(scratch))]
        if modules is not None:
            contenders.append(Sharp(processes, Path(scratch), modules))
        figures = {contender.name: Figures() for contender in contenders}
        async with AsyncExitStack() as running:
            for contender in contenders:
                await running.enter_async_context(contender)
                await contender.render(pictures[: processes * 2])  # warm
            for number in range(rounds):
                for contender in contenders[number % len(contenders) :] + contenders[: number % len(contenders)]:
                    await _one_round(contender, pictures, figures[contender.name])
        return figures


async def _one_round(contender: Contender, pictures: Sequence[Path], figures: Figures) -> None:
    cpu_before_seconds, before_seconds = contender.cpu_seconds(), time.perf_counter()
    await contender.render(pictures)
    wall_seconds = time.perf_counter() - before_seconds
    figures.pictures_per_second.append(len(pictures) / wall_seconds)
    figures.cpu_ms_per_picture.append((contender.cpu_seconds() - cpu_before_seconds) * 1000 / len(pictures))


def twelve_megapixel_files(folder: Path) -> list[Path]:
    files = []
    for photo in real_photos():
        if photo.name in _TILES:
            path = folder / f"{photo.stem}.jpg"
            path.write_bytes(twelve_megapixel_jpeg(photo))
            files.append(path)
    return files


def report(figures: dict[str, Figures]) -> dict[str, float]:
    """Print a table and give back the figures the goals are set for."""
    ours, pillow = figures[OurPool.name], figures[BarePillow.name]
    print(f"{'12-megapixel JPEG to 4 WebP':<28}{'pictures/s':>12}{'CPU ms each':>14}{'x ours, by CPU':>16}")
    for name, one in figures.items():
        rate, cpu = statistics.median(one.pictures_per_second), statistics.median(one.cpu_ms_per_picture)
        print(f"{name:<28}{rate:>12.2f}{cpu:>14.0f}{_ratio(ours.cpu_ms_per_picture, one.cpu_ms_per_picture):>16.2f}")
    results = {
        "pictures_per_second": statistics.median(ours.pictures_per_second),
        "cpu_ms_per_picture": statistics.median(ours.cpu_ms_per_picture),
        "rate_against_pillow": _ratio(ours.pictures_per_second, pillow.pictures_per_second),
        "cpu_against_pillow": _ratio(pillow.cpu_ms_per_picture, ours.cpu_ms_per_picture),
    }
    if (sharp := figures.get(Sharp.name)) is not None:
        results["rate_against_sharp"] = _ratio(ours.pictures_per_second, sharp.pictures_per_second)
        results["cpu_against_sharp"] = _ratio(sharp.cpu_ms_per_picture, ours.cpu_ms_per_picture)
    for name, value in results.items():
        print(f"  {name.replace('_', ' ')}: {value:.2f}")
    print(f"  goals: at least {_GOAL_AGAINST_PILLOW} x bare Pillow; better than the BullMQ job's", end=" ")
    print(f"{_BULLMQ_PICTURES_PER_SECOND} pictures/s at {_BULLMQ_CPU_MS:.0f} ms of CPU each")
    return results


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Median of the ratios round by round: what slows a whole round down cancels out."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=8, help="pictures per round and contender")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    report(asyncio.run(measure(arguments.rounds, arguments.pictures, arguments.processes)))


if __name__ == "__main__":
    main()
