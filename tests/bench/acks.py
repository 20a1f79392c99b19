"""How soon an upload is acknowledged: at a steady rate, alone and beside rendering, and all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared.testing.pictures import photo_jpeg_of_size, truncated_jpeg
from tests.bench.figures import Figure, Goal
from tests.bench.processors import cpu_seconds
from tests.bench.site import Site, say
from tests.bench.upload_load import LoadOrder, LoadResult, generate, percentile

PICTURE_BYTES: Final = 500_000
PER_SECOND: Final = 100.0
BURST_UPLOADS: Final = 500
WARM_UP_UPLOADS: Final = 200
_GOOD_PER_BAD: Final = 24
_DRAIN_SECONDS: Final = 300.0
_BULLMQ: Final = "BullMQ"


async def measure_acks(site: Site, seconds: float) -> list[Figure]:
    """100 uploads a second: with image-processor stopped, then with it rendering what has piled up, and more."""
    pictures = _write_pictures(site.folder)
    say(f"{seconds:g} s of uploads, image-processor stopped")
    alone, alone_cpu_ms = await _loaded(site, pictures, seconds)
    await site.start_processor()
    say(f"{seconds:g} s of uploads beside rendering")
    beside, beside_cpu_ms = await _loaded(site, pictures, seconds)
    jobs = [*alone.job_ids, *beside.job_ids]
    say(f"rendering the rest of {len(jobs)} pictures")
    outcomes = await site.ended(jobs, _DRAIN_SECONDS)
    await site.stop_processor()
    return [
        *_latencies("nothing rendered", alone, alone_cpu_ms, p99_bound_ms=46, p99_source=_BULLMQ),
        *_latencies("rendering, niced", beside, beside_cpu_ms, p99_bound_ms=13, p99_source=f"{_BULLMQ}, workers niced"),
        *_nothing_missing("at a steady rate", [alone, beside], outcomes, failures_due=0),
    ]


async def measure_burst(site: Site) -> list[Figure]:
    """500 uploads at once on new connections, some of them broken pictures: image-processor stopped, then running."""
    good = _write_pictures(site.folder)
    broken = site.folder / "truncated.jpg"
    broken.write_bytes(truncated_jpeg())
    pictures = [*(good * _GOOD_PER_BAD)[:_GOOD_PER_BAD], broken]
    say("warming up, image-processor stopped")
    jobs = (await generate(_order(site, good, WARM_UP_UPLOADS, PER_SECOND))).job_ids
    figures, alone = await _burst(site, pictures, "nothing rendered")
    await site.start_processor()
    say(f"rendering {len(jobs) + len(alone.job_ids)} pictures")
    await site.ended([*jobs, *alone.job_ids], _DRAIN_SECONDS)
    more, beside = await _burst(site, pictures, "rendering, niced")
    say("rendering them")
    outcomes = await site.ended([*alone.job_ids, *beside.job_ids], _DRAIN_SECONDS)
    await site.stop_processor()
    failures_due = 2 * BURST_UPLOADS // (_GOOD_PER_BAD + 1)
    return [*figures, *more, *_nothing_missing("in both bursts", [alone, beside], outcomes, failures_due=failures_due)]


async def _burst(site: Site, pictures: Sequence[Path], state: str) -> tuple[list[Figure], LoadResult]:
    say(f"{BURST_UPLOADS} uploads at once, {state}")
    cpu_before_seconds = cpu_seconds(site.ingest.pid)
    result = await generate(_order(site, pictures, BURST_UPLOADS, per_second=None))
    cpu_ms = (cpu_seconds(site.ingest.pid) - cpu_before_seconds) * 1000 / BURST_UPLOADS
    figures = [
        Figure(f"{state}: all acknowledged", result.all_answered_seconds, "s", Goal("<", 1.3, _BULLMQ)),
        Figure(f"{state}: p50", percentile(result.latencies_ms, 0.5), "ms"),
        Figure(f"{state}: ingest-api, processor time per upload", cpu_ms, "ms"),
    ]
    return figures, result


def _write_pictures(folder: Path) -> list[Path]:
    paths = []
    for number in range(8):
        path = folder / f"upload-{number}.jpg"
        path.write_bytes(photo_jpeg_of_size(PICTURE_BYTES, seed=number))
        paths.append(path)
    return paths


def _order(site: Site, pictures: Sequence[Path], uploads: int, per_second: float | None) -> LoadOrder:
    return LoadOrder(site.ingest.base_url, site.api_key, [str(path) for path in pictures], uploads, per_second)


async def _loaded(site: Site, pictures: Sequence[Path], seconds: float) -> tuple[LoadResult, float]:
    """The result, and ingest-api's processor time per upload in ms."""
    before_seconds = cpu_seconds(site.ingest.pid)
    result = await generate(_order(site, pictures, int(PER_SECOND * seconds), PER_SECOND))
    return result, (cpu_seconds(site.ingest.pid) - before_seconds) * 1000 / max(len(result.job_ids), 1)


def _latencies(state: str, result: LoadResult, cpu_ms: float, *, p99_bound_ms: float, p99_source: str) -> list[Figure]:
    latencies = result.latencies_ms
    lag_ms = percentile(result.start_lag_ms, 0.99)
    generator_ms = result.cpu_seconds * 1000 / max(len(latencies), 1)
    remark = f"load generator: p99 {lag_ms:.1f} ms late, {generator_ms:.1f} ms of processor time per upload"
    return [
        Figure(f"{state}: p50", percentile(latencies, 0.5), "ms", Goal("<", 6, _BULLMQ)),
        Figure(f"{state}: p95", percentile(latencies, 0.95), "ms"),
        Figure(f"{state}: p99", percentile(latencies, 0.99), "ms", Goal("<", p99_bound_ms, p99_source), remark),
        Figure(f"{state}: ingest-api, processor time per upload", cpu_ms, "ms"),
    ]


def _nothing_missing(
    when: str, results: Sequence[LoadResult], outcomes: dict[str, int], failures_due: int
) -> list[Figure]:
    accepted = sum(len(result.job_ids) for result in results)
    refused = sum(sum(result.answers.values()) - len(result.latencies_ms) for result in results)
    unfinished = accepted - outcomes.get("completed", 0) - outcomes.get("failed", 0)
    return [
        Figure(f"{when}: lost", sum(result.lost for result in results), "uploads", Goal("=", 0)),
        Figure(f"{when}: 5xx", sum(result.server_errors for result in results), "answers", Goal("=", 0)),
        Figure(f"{when}: not accepted", refused, "uploads", Goal("=", 0)),
        Figure(f"{when}: jobs without outcome", unfinished, "jobs", Goal("=", 0)),
        Figure(f"{when}: jobs failed", outcomes.get("failed", 0), "jobs", Goal("=", failures_due, "broken pictures")),
    ]
