"""Measure the system and print every figure beside its goal: `python -m tests.bench [--only PART ...]`.

Everything runs on this machine, on servers and in folders of its own, and ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.bench.acks import measure_acks, measure_burst
from tests.bench.event_photos import measure_indexing, measure_searching
from tests.bench.figures import Figure, Section, table
from tests.bench.finding_faces import measure_faces
from tests.bench.notice import measure_notice
from tests.bench.processors import ProcessorWatch
from tests.bench.reconciling import measure_reconciling
from tests.bench.retention import measure_retention
from tests.bench.site import Site, running_site
from tests.bench.syncing import measure_syncing
from tests.bench.throughput import measure_rendering, measure_system

PARTS: Final = ("notice", "render", "acks", "burst", "reconcile", "sync", "storage", "faces", "events", "retention")


class Bench:
    """Runs the wanted parts one after the other and keeps their figures."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._parts: set[str] = set(arguments.only or PARTS)
        self.sections: list[Section] = []

    async def run(self) -> None:
        wanted = self._arguments
        if "render" in self._parts:
            rendering = measure_rendering(wanted.rounds, wanted.pictures, wanted.processes)
            await self._section("12-megapixel JPEG to 4 WebP, rendering alone", rendering)
        await self._on_site(
            ("notice", "640×480, upload to notice", lambda site: measure_notice(site, wanted.notices)),
            (
                "render",
                "12-megapixel JPEG to 4 WebP, whole system",
                lambda site: measure_system(site, wanted.rounds, 2 * wanted.pictures, wanted.processes),
            ),
            ("acks", "acknowledgement, 100/s of 500 KB", lambda site: measure_acks(site, wanted.seconds)),
            ("burst", "500 uploads of 500 KB at once", measure_burst),
            (
                "reconcile",
                "consistency: 150 products, 450 images",
                lambda site: measure_reconciling(site, wanted.rounds),
            ),
        )
        if "sync" in self._parts:
            with tempfile.TemporaryDirectory(prefix="mediabus-bench-") as folder:
                await self._section("disk to bucket, 20 in flight", measure_syncing(Path(folder), wanted.turns))
        if "faces" in self._parts:
            finding = asyncio.to_thread(measure_faces, wanted.rounds, wanted.photos)
            await self._section("faces: the engine alone, pack lite", finding)
        if "events" in self._parts:
            with tempfile.TemporaryDirectory(prefix="mediabus-bench-") as folder:
                indexing = measure_indexing(Path(folder), wanted.turns, wanted.event_photos)
                await self._section("event photos: from bucket to database", indexing)
            with tempfile.TemporaryDirectory(prefix="mediabus-bench-") as folder:
                await self._section("event photos: searches", measure_searching(Path(folder), wanted.event_faces))
        if "retention" in self._parts:
            with tempfile.TemporaryDirectory(prefix="mediabus-bench-") as folder:
                measured = measure_retention(Path(folder), wanted.media, wanted.purged)
                await self._section(f"lists, retention and purge of {wanted.media} media", measured)
        if "storage" in self._parts:
            await asyncio.to_thread(subprocess.run, [sys.executable, "-m", "tests.bench.bench_storage"], check=True)

    async def _on_site(self, *parts: tuple[str, str, Callable[[Site], Awaitable[list[Figure]]]]) -> None:
        for name, title, part in parts:
            if name not in self._parts:
                continue
            # Each part on new servers: no backlog, no cache and no size of tables is another part's.
            with tempfile.TemporaryDirectory(prefix="mediabus-bench-") as folder:
                async with running_site(Path(folder)) as site:
                    await self._section(title, part(site))

    async def _section(self, title: str, figures: Awaitable[list[Figure]]) -> None:
        watch = ProcessorWatch()
        self.sections.append(Section(title, await figures, watch.cores_used_elsewhere()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the system against its goals.")
    parser.add_argument("--only", choices=PARTS, nargs="+", help="parts to run; all when left out")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each steady load of uploads")
    parser.add_argument("--notices", type=int, default=60, help="pictures followed from upload to notice")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of rendering")
    parser.add_argument("--turns", type=int, default=3, help="turns of each sync job")
    parser.add_argument("--pictures", type=int, default=8, help="pictures per round of rendering")
    parser.add_argument("--photos", type=int, default=40, help="previews per round of finding faces")
    parser.add_argument("--event-photos", type=int, default=300, help="photos of each sync of an event")
    parser.add_argument("--event-faces", type=int, default=100_000, help="faces of the largest event that is searched")
    parser.add_argument("--media", type=int, default=1_000_000, help="media in lists, retention and purge")
    parser.add_argument("--purged", type=int, default=100_000, help="jobs and media that are removed, at most")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="render processes")
    return parser.parse_args()


def main() -> None:
    bench = Bench(_arguments())
    before = os.getloadavg()[0]
    asyncio.run(bench.run())
    print(f"{len(os.sched_getaffinity(0))} processors ({platform.machine()}), Python {platform.python_version()}")
    print(f"load average {before:.2f} before, {os.getloadavg()[0]:.2f} after")
    print(table(bench.sections))


if __name__ == "__main__":
    main()
