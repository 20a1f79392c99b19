"""The load generator, a process of its own: reads what to do as JSON from its input, says as JSON what came of it.

Open loop: uploads begin when they are due, however late the answers to the earlier ones are, and each one's latency
counts from the moment it was due.
"""

from __future__ import annotations

import asyncio
import json
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvloop

from tests.bench.uploading import Connections, Lost, prepared_request

WARM_UP_SECONDS: Final = 1.0
LONGEST_RUN_SECONDS: Final = 120.0
ACCEPTED: Final = 202


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """`uploads` of the pictures, `per_second` (None: all at once)."""

    base_url: str
    api_key: str
    pictures: list[str]
    uploads: int
    per_second: float | None


@dataclass(slots=True)
class LoadResult:
    """What came of a load; latencies in the order in which uploads were due, those that were accepted alone.

    `start_lag_ms` tells for each upload how late this process itself was to begin it: part of its latency, and none of
    the server's doing.
    """

    latencies_ms: list[float] = field(default_factory=list)
    start_lag_ms: list[float] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    job_ids: list[str] = field(default_factory=list)
    all_answered_seconds: float = 0.0
    connections: int = 0
    cpu_seconds: float = 0.0

    @property
    def server_errors(self) -> int:
        return sum(count for status, count in self.answers.items() if status.startswith("5"))

    @property
    def lost(self) -> int:
        return self.answers.get("lost", 0)


class Load:
    """Runs one order."""

    def __init__(self, order: LoadOrder) -> None:
        address = urlsplit(order.base_url)
        assert address.hostname is not None
        assert address.port is not None
        self._order = order
        self._connections = Connections(address.hostname, address.port)
        contents = [Path(path).read_bytes() for path in order.pictures]
        self._requests = [prepared_request(content, order.api_key, address.netloc) for content in contents]
        self._loop = asyncio.get_running_loop()

    async def run(self) -> LoadResult:
        if self._order.per_second is not None:
            warm_up = await self._uploads(int(WARM_UP_SECONDS * self._order.per_second))
        else:
            warm_up = LoadResult()
        cpu_before_seconds = _cpu_seconds()
        result = await self._uploads(self._order.uploads)
        result.cpu_seconds = _cpu_seconds() - cpu_before_seconds
        result.connections = self._connections.opened
        # A job of the warm-up has to end as well.
        result.job_ids += warm_up.job_ids
        self._connections.close()
        return result

    async def _uploads(self, count: int) -> LoadResult:
        result, answers = LoadResult(), Counter[str]()
        begin = time.monotonic() + (0.05 if self._order.per_second else 0.0)
        gap_seconds = 1 / self._order.per_second if self._order.per_second else 0.0
        tasks: list[asyncio.Task[None]] = []
        for number, request in enumerate(islice(cycle(self._requests), count)):
            due = begin + number * gap_seconds
            if (wait_seconds := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_seconds)
            tasks.append(self._loop.create_task(self._upload(request, due, result, answers)))
        await asyncio.gather(*tasks)
        result.all_answered_seconds = time.monotonic() - begin
        result.answers = dict(answers)
        return result

    async def _upload(self, request: bytes, due: float, result: LoadResult, answers: Counter[str]) -> None:
        result.start_lag_ms.append((time.monotonic() - due) * 1000)
        try:
            answer = await self._connections.request(request)
        except (Lost, TimeoutError):
            answers["lost"] += 1
            return
        answers[str(answer.status)] += 1
        if answer.status == ACCEPTED:
            result.latencies_ms.append((time.monotonic() - due) * 1000)
            result.job_ids.append(answer.job_id)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def generate(order: LoadOrder) -> LoadResult:
    """Run the order in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.upload_load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LONGEST_RUN_SECONDS + 10):
            output, _ = await process.communicate(json.dumps(asdict(order)).encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with exit code {process.returncode}; its error stands above")
    return LoadResult(**json.loads(output))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


async def _run(order: LoadOrder) -> LoadResult:
    async with asyncio.timeout(LONGEST_RUN_SECONDS):
        return await Load(order).run()


def main() -> None:
    order = LoadOrder(**json.load(sys.stdin))
    started = time.perf_counter()
    result = uvloop.run(_run(order))
    print(f"load generator: {time.perf_counter() - started:.1f} s, {result.answers}", file=sys.stderr)
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
