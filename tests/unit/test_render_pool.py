"""The pool of render processes: limits and deaths touch one picture only, and nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from image_processor.render_pool import RenderPool
from image_processor.rendering import RenderJob, Rendition
from image_processor.variants import DEFAULT_VARIANTS, PictureFormat, VariantSpec
from shared.messaging.errors import InfrastructureUnavailable, MessageError, PermanentError, Postponed, TransientError
from shared.testing import pictures
from shared.worker_pool import WorkerPoolSettings
from shared.worker_pool.pool import _Worker

# Workers are nice: beside others that compute, what takes seconds takes many more.
SETTINGS = WorkerPoolSettings(workers=2, time_limit_seconds=120.0)
SLOW = (VariantSpec("slow", 3000, PictureFormat.AVIF, 80),)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "good.jpg"
    path.write_bytes(pictures.photo_jpeg(400, 300))
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes seconds to encode as AVIF."""
    path = tmp_path_factory.mktemp("sources") / "large.png"
    path.write_bytes(pictures.encoded(pictures.photo(3000, 2250), "PNG", compress_level=1))
    return path


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[RenderPool]:
    async with RenderPool(SETTINGS) as running:
        yield running


def job(source: Path, tmp_path: Path, variants: tuple[VariantSpec, ...] = DEFAULT_VARIANTS) -> RenderJob:
    return RenderJob(source, Path(tempfile.mkdtemp(dir=tmp_path)), variants)


async def until(condition: Callable[[], bool], deadline_seconds: float = 60.0) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():  # noqa: ASYNC110 - the condition is another process's
            await asyncio.sleep(0.005)


def busy_pid(pool: RenderPool, idle_cpu_seconds: dict[int, float]) -> int | None:
    """The worker that has used CPU since `idle_cpu_seconds` were taken."""
    for pid, before in idle_cpu_seconds.items():
        if cpu_seconds(pid) > before + 0.05:
            return pid
    return None


def process_fields(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_running(pid: int) -> bool:
    return process_fields(pid)[:1] not in ([], ["Z"], ["X"])


def cpu_seconds(pid: int) -> float:
    fields = process_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def resident_bytes(pid: int) -> int:
    return int(process_fields(pid)[21]) * os.sysconf("SC_PAGE_SIZE")


def process_file(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def open_files(pid: int) -> list[str]:
    return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]


async def start_slow(pool: RenderPool, large: Path, tmp_path: Path) -> tuple[asyncio.Task[object], int]:
    """Start a render that takes seconds; the task and the process that works on it."""
    before = {pid: cpu_seconds(pid) for pid in pool.worker_pids}
    task: asyncio.Task[object] = asyncio.create_task(pool.render(job(large, tmp_path, SLOW)))
    await until(lambda: busy_pid(pool, before) is not None)
    pid = busy_pid(pool, before)
    assert pid is not None
    return task, pid


async def rendered_in_the_end(pool: RenderPool, source: Path, tmp_path: Path) -> Rendition:
    """Try a picture again that had no share of the CPU, as its handler does."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await pool.render(job(source, tmp_path))
            except TransientError as error:
                if error.code != "render_starved":
                    raise


def waited_for_cpu_seconds() -> float:
    """How long this thread could have run and others did; 0 where the kernel does not count it."""
    counted = Path("/proc/thread-self/schedstat")
    return int(counted.read_text().split()[1]) / 1e9 if counted.exists() else 0.0


async def test_pictures_are_rendered_side_by_side(pool: RenderPool, good: Path, tmp_path: Path) -> None:
    started: list[int] = []
    jobs = [pool.render(job(good, tmp_path), on_started=partial(started.append, n)) for n in range(8)]
    renditions = await asyncio.gather(*jobs)
    assert len({rendition.variants for rendition in renditions}) == 1
    assert sorted(started) == list(range(8))
    assert (pool.waiting, pool.active) == (0, 0)


async def test_a_bad_picture_is_refused_and_its_worker_goes_on(pool: RenderPool, good: Path, tmp_path: Path) -> None:
    pids = pool.worker_pids
    for content, code in (
        (pictures.truncated_jpeg(), "image_truncated"),
        (pictures.corrupt_jpeg(), "image_corrupt"),
        (pictures.decompression_bomb_png(), "image_too_many_pixels"),
        (b"no picture", "image_unsupported"),
    ):
        source = tmp_path / "bad"
        source.write_bytes(content)
        with pytest.raises(PermanentError) as caught:
            await pool.render(job(source, tmp_path))
        assert caught.value.code == code
    await pool.render(job(good, tmp_path))
    assert pool.worker_pids == pids


async def test_a_missing_source_is_transient(pool: RenderPool, tmp_path: Path) -> None:
    with pytest.raises(TransientError) as caught:
        await pool.render(job(tmp_path / "nowhere", tmp_path))
    assert caught.value.code == "render_io"


async def test_a_full_disk_is_no_fault_of_the_picture(pool: RenderPool, good: Path, tmp_path: Path) -> None:
    on_full_disk = job(good, tmp_path)
    (on_full_disk.output_dir / ".large.webp.part").symlink_to("/dev/full")
    with pytest.raises(InfrastructureUnavailable) as caught:
        await pool.render(on_full_disk)
    assert caught.value.dependency == "disk"


async def test_killing_a_worker_costs_only_its_picture(
    pool: RenderPool, good: Path, large: Path, tmp_path: Path
) -> None:
    slow, pid = await start_slow(pool, large, tmp_path)
    others = [asyncio.create_task(pool.render(job(good, tmp_path))) for _ in range(6)]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TransientError) as caught:
        await slow
    assert caught.value.code == "render_worker_died"
    assert "SIGKILL" in caught.value.detail
    assert all(rendition.variants for rendition in await asyncio.gather(*others))
    await until(lambda: len(pool.worker_pids) == SETTINGS.workers)
    assert pid not in pool.worker_pids


async def test_killing_every_idle_worker_costs_nothing(pool: RenderPool, good: Path, tmp_path: Path) -> None:
    for pid in pool.worker_pids:
        os.kill(pid, signal.SIGKILL)
    assert (await pool.render(job(good, tmp_path))).variants
    await until(lambda: len(pool.worker_pids) == SETTINGS.workers)


async def test_workers_ignore_the_signals_of_a_stopping_system(pool: RenderPool, good: Path, tmp_path: Path) -> None:
    pids = pool.worker_pids
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        assert os.getpgid(pid) != os.getpgid(0)
        assert os.getsid(pid) == os.getsid(0)
    assert (await pool.render(job(good, tmp_path))).variants
    assert pool.worker_pids == pids


async def test_the_time_limit_stops_only_that_picture(good: Path, large: Path, tmp_path: Path) -> None:
    async with RenderPool(replace(SETTINGS, time_limit_seconds=1.0)) as pool:
        slow = asyncio.create_task(pool.render(job(large, tmp_path, SLOW)))
        while not slow.done():
            await rendered_in_the_end(pool, good, tmp_path)
        with pytest.raises(MessageError) as caught:
            await slow
        # On an overloaded machine the picture did not get its share of the CPU, and is not to blame.
        assert caught.value.code in {"image_time_limit", "render_starved"}
        assert (await rendered_in_the_end(pool, good, tmp_path)).variants


async def test_a_picture_that_got_no_cpu_is_tried_again(good: Path, tmp_path: Path) -> None:
    async with RenderPool(replace(SETTINGS, workers=1, time_limit_seconds=0.5)) as pool:
        (pid,) = pool.worker_pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TransientError) as caught:
            await pool.render(job(good, tmp_path))
        assert caught.value.code == "render_starved"
        assert (await rendered_in_the_end(pool, good, tmp_path)).variants


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_the_memory_limit_stops_only_that_picture(kind: str, good: Path, tmp_path: Path) -> None:
    source = tmp_path / "wide"
    source.write_bytes(pictures.encoded(Image.new("RGB", (7000, 7000), "teal"), kind))
    async with RenderPool(replace(SETTINGS, workers=1, memory_limit_bytes=110 * 2**20)) as pool:
        (pid,) = pool.worker_pids
        with pytest.raises(PermanentError) as caught:
            await pool.render(job(source, tmp_path, (VariantSpec("whole", 7000),)))
        assert caught.value.code == "image_memory_limit"
        assert "110 MiB" in caught.value.detail
        assert (await pool.render(job(good, tmp_path))).variants
        assert pid not in pool.worker_pids


async def test_cancelling_stops_the_worker_and_frees_its_place(
    pool: RenderPool, good: Path, large: Path, tmp_path: Path
) -> None:
    slow, pid = await start_slow(pool, large, tmp_path)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    await until(lambda: not is_running(pid))
    await until(lambda: len(pool.worker_pids) == SETTINGS.workers)
    assert (await pool.render(job(good, tmp_path))).variants
    assert (pool.waiting, pool.active) == (0, 0)


async def test_cancelling_what_waits_loses_no_worker(pool: RenderPool, good: Path, tmp_path: Path) -> None:
    for _ in range(10):
        tasks = [asyncio.create_task(pool.render(job(good, tmp_path))) for _ in range(6)]
        await asyncio.sleep(0)
        for task in tasks[2:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    pids = pool.worker_pids
    assert len(pids) == SETTINGS.workers
    await asyncio.gather(*(pool.render(job(good, tmp_path)) for _ in range(4)))
    assert pool.worker_pids == pids


async def test_closing_finishes_what_runs_and_turns_away_what_waits(large: Path, tmp_path: Path) -> None:
    pool = RenderPool(replace(SETTINGS, workers=1))
    async with pool:
        slow, pid = await start_slow(pool, large, tmp_path)
        waiting = asyncio.create_task(pool.render(job(large, tmp_path, SLOW)))
        await until(lambda: pool.waiting == 1)
        await pool.close(deadline_seconds=120)
        assert await slow
        with pytest.raises(Postponed) as caught:
            await waiting
        assert caught.value.code == "render_pool_closed"
        with pytest.raises(Postponed):
            await pool.render(job(large, tmp_path))
    assert not is_running(pid)


async def test_closing_that_is_cancelled_leaves_no_worker(large: Path, tmp_path: Path) -> None:
    async with RenderPool(SETTINGS) as pool:
        slow, _ = await start_slow(pool, large, tmp_path)
        pids = pool.worker_pids
        assert len(pids) == SETTINGS.workers
        closing = asyncio.create_task(pool.close(deadline_seconds=120))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not any(is_running(pid) for pid in pids)
        with pytest.raises(TransientError):
            await slow


async def test_opening_that_is_cancelled_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker is ready by then and one is not."""
    starts = itertools.count()
    ready: list[_Worker] = []
    start = _Worker.start

    async def start_only_one(*how: Any) -> _Worker:
        if next(starts):
            await asyncio.Event().wait()
        ready.append(await start(*how))
        return ready[0]

    async def open_pool() -> None:
        async with RenderPool(SETTINGS):
            pass

    monkeypatch.setattr(_Worker, "start", start_only_one)
    opening = asyncio.create_task(open_pool())
    await until(lambda: bool(ready))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not is_running(ready[0].process.pid)


async def test_a_process_that_cannot_be_made_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    make_pair = socket.socketpair

    def pair() -> tuple[socket.socket, socket.socket]:
        made.extend(make_pair())
        return made[-2], made[-1]

    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "too many processes")

    monkeypatch.setattr("shared.worker_pool.pool.socket.socketpair", pair)
    monkeypatch.setattr("shared.worker_pool.pool.subprocess.Popen", refuse)
    with pytest.raises(BlockingIOError):
        async with RenderPool(replace(SETTINGS, workers=1)):
            pass
    assert [one.fileno() for one in made] == [-1, -1]


async def test_closing_has_a_deadline(large: Path, tmp_path: Path) -> None:
    pool = RenderPool(SETTINGS)
    async with pool:
        slow, pid = await start_slow(pool, large, tmp_path)
        await pool.close(deadline_seconds=0.05)
        with pytest.raises(TransientError):
            await slow
        assert not is_running(pid)


async def test_no_worker_within_the_wait_limit(large: Path, tmp_path: Path) -> None:
    async with RenderPool(replace(SETTINGS, workers=1, wait_limit_seconds=0.1)) as pool:
        slow, _ = await start_slow(pool, large, tmp_path)
        with pytest.raises(Postponed) as caught:
            await pool.render(job(large, tmp_path))
        assert caught.value.code == "render_pool_busy"
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


async def test_a_worker_is_replaced_after_its_pictures(good: Path, tmp_path: Path) -> None:
    async with RenderPool(replace(SETTINGS, workers=1, orders_per_worker=2)) as pool:
        pids = []
        for _ in range(6):
            await until(lambda: len(pool.worker_pids) == 1)
            pids.append(next(iter(pool.worker_pids)))
            await pool.render(job(good, tmp_path))
        assert len(set(pids)) >= 3


async def test_the_event_loop_stays_free(pool: RenderPool, large: Path, tmp_path: Path) -> None:
    longest_seconds = 0.0
    slow, pid = await start_slow(pool, large, tmp_path)
    os.kill(pid, signal.SIGKILL)  # replacing it is the worst the loop is asked to do
    deadline_seconds = time.monotonic() + 1.5
    while time.monotonic() < deadline_seconds:
        # What counts is how long the loop kept its turns to itself, not how long others kept the loop from the CPU.
        before_seconds = time.monotonic() - waited_for_cpu_seconds()
        await asyncio.sleep(0.001)
        longest_seconds = max(longest_seconds, time.monotonic() - waited_for_cpu_seconds() - before_seconds)
    assert longest_seconds < 0.75
    with pytest.raises(TransientError):
        await slow


async def test_workers_get_no_secrets_and_no_sockets(pool: RenderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIABUS_S3_SECRET_KEY", "very-secret")
    async with RenderPool(replace(SETTINGS, workers=1, niceness=3)) as other:
        (pid,) = other.worker_pids
        assert "very-secret" not in process_file(pid, "environ")
        assert sum(target.startswith("socket:") for target in open_files(pid)) == 1
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)
        assert process_file(pid, "oom_score_adj").strip() == "500"


async def test_the_death_of_the_parent_leaves_no_worker(tmp_path: Path) -> None:
    """The parent is killed with -9 while one worker is in the middle of a picture."""
    source = tmp_path / "large.png"
    source.write_bytes(pictures.encoded(pictures.photo(3000, 2250), "PNG", compress_level=1))
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from image_processor.render_pool import RenderPool
        from image_processor.rendering import RenderJob
        from image_processor.variants import PictureFormat, VariantSpec
        from shared.worker_pool import WorkerPoolSettings

        async def main() -> None:
            async with RenderPool(WorkerPoolSettings(workers=2)) as pool:
                print(*pool.worker_pids, flush=True)
                slow = (VariantSpec("slow", 3000, PictureFormat.AVIF, 90),)
                await pool.render(RenderJob(Path(sys.argv[1]), Path(sys.argv[2]), slow))

        asyncio.run(main())
        """
    )
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", program, str(source), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
        assert len(pids) == 2
        await until(lambda: any(cpu_seconds(pid) > 0.8 for pid in pids))
        parent.kill()
    await until(lambda: not any(is_running(pid) for pid in pids), deadline_seconds=20)


async def test_memory_stays_flat(good: Path, tmp_path: Path) -> None:
    async with RenderPool(replace(SETTINGS, workers=1)) as pool:
        (pid,) = pool.worker_pids
        for _ in range(20):
            await pool.render(job(good, tmp_path))
        before_bytes = resident_bytes(pid)
        for _ in range(150):
            await pool.render(job(good, tmp_path))
        assert resident_bytes(pid) < before_bytes + 4 * 2**20
