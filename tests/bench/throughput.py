"""12-megapixel pictures per second: through the render pool alone, and through the whole system."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from tests.bench.figures import Figure, Goal
from tests.bench.processors import tree_cpu_seconds
from tests.bench.render_against_pillow import BarePillow, Figures, OurPool, Sharp, measure, twelve_megapixel_files
from tests.bench.site import Site, say
from tests.bench.upload_load import LoadOrder, generate

AGAINST_PILLOW: Final = 0.9
BULLMQ_PER_SECOND: Final = 3.0
BULLMQ_CPU_MS: Final = 626.0
_ROUND_SECONDS: Final = 180.0


async def measure_rendering(rounds: int, pictures_per_round: int, processes: int) -> list[Figure]:
    """The render pool against bare Pillow and against sharp, in turns."""
    say(f"rendering {rounds} rounds of {pictures_per_round} pictures with each")
    found = await measure(rounds, pictures_per_round, processes)
    ours, pillow, sharp = found[OurPool.name], found[BarePillow.name], found.get(Sharp.name)
    figures = [
        Figure("render pool", _rate(ours), "pictures/s", Goal(">", BULLMQ_PER_SECOND, "BullMQ")),
        Figure("render pool, processor time per picture", _cpu(ours), "ms", Goal("<", BULLMQ_CPU_MS, "BullMQ")),
        Figure("bare Pillow", _rate(pillow), "pictures/s"),
        Figure("bare Pillow, processor time per picture", _cpu(pillow), "ms"),
        *_compared("render pool : bare Pillow", ours, pillow, Goal(">=", AGAINST_PILLOW)),
    ]
    if sharp is not None:
        figures += [
            Figure("sharp", _rate(sharp), "pictures/s"),
            Figure("sharp, processor time per picture", _cpu(sharp), "ms"),
            *_compared("render pool : sharp", ours, sharp, None),
        ]
    return figures


async def measure_system(site: Site, rounds: int, pictures_per_round: int, processes: int) -> list[Figure]:
    """Uploaded, rendered, stored, completed; in turns with bare Pillow, which gets the files as they lie."""
    files = twelve_megapixel_files(site.folder)
    pictures = list(islice(cycle(files), pictures_per_round))
    system, pillow, servers_cpu_ms = Figures(), Figures(), list[float]()
    output = site.folder / "pillow"
    output.mkdir()
    await site.start_processor()
    say(f"{rounds} rounds of {pictures_per_round} pictures through the whole system")
    async with BarePillow(processes, output) as bare:
        await bare.render(pictures[: processes * 2])
        await _through_system(site, pictures[: processes * 2])
        for number in range(rounds):
            for turn in ("system", "pillow") if number % 2 else ("pillow", "system"):
                if turn == "pillow":
                    before_seconds, started = bare.cpu_seconds(), time.perf_counter()
                    await bare.render(pictures)
                    _note(pillow, started, bare.cpu_seconds() - before_seconds, pictures_per_round)
                    continue
                services = [site.ingest.pid, site.processor.pid]
                before_seconds, servers_before = tree_cpu_seconds(services), tree_cpu_seconds(site.server_pids)
                started = time.perf_counter()
                await _through_system(site, pictures)
                _note(system, started, tree_cpu_seconds(services) - before_seconds, pictures_per_round)
                servers_seconds = tree_cpu_seconds(site.server_pids) - servers_before
                servers_cpu_ms.append(servers_seconds * 1000 / pictures_per_round)
    await site.stop_processor()
    remark = f"and {statistics.median(servers_cpu_ms):.0f} ms of PostgreSQL and Kafka"
    return [
        Figure("whole system", _rate(system), "pictures/s", Goal(">", BULLMQ_PER_SECOND, "BullMQ")),
        Figure("whole system, processor time per picture", _cpu(system), "ms", Goal("<", BULLMQ_CPU_MS), remark),
        *_compared("whole system : bare Pillow", system, pillow, Goal(">=", AGAINST_PILLOW)),
    ]


async def _through_system(site: Site, pictures: Sequence[Path]) -> None:
    order = LoadOrder(site.ingest.base_url, site.api_key, [str(path) for path in pictures], len(pictures), None)
    result = await generate(order)
    outcomes = await site.ended(result.job_ids, _ROUND_SECONDS)
    if outcomes != {"completed": len(pictures)}:
        raise RuntimeError(f"of {len(pictures)} pictures came out {outcomes}; answers were {result.answers}")


def _note(figures: Figures, started: float, cpu_seconds: float, pictures: int) -> None:
    figures.pictures_per_second.append(pictures / (time.perf_counter() - started))
    figures.cpu_ms_per_picture.append(cpu_seconds * 1000 / pictures)


def _rate(figures: Figures) -> float:
    return statistics.median(figures.pictures_per_second)


def _cpu(figures: Figures) -> float:
    return statistics.median(figures.cpu_ms_per_picture)


def _compared(name: str, one: Figures, other: Figures, goal: Goal | None) -> list[Figure]:
    """Medians of the ratios round by round: what slows a whole round down cancels out."""
    rates = zip(one.pictures_per_second, other.pictures_per_second, strict=True)
    costs = zip(one.cpu_ms_per_picture, other.cpu_ms_per_picture, strict=True)
    return [
        Figure(f"{name}, pictures/s", statistics.median(ours / theirs for ours, theirs in rates), "×", goal),
        Figure(f"{name}, pictures per processor time", statistics.median(b / a for a, b in costs), "×", goal),
    ]
