"""Whether a bucket can be used, said in words that tell what is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from shared.identifiers import new_id
from shared.storage.errors import ObjectNotFound, StoreRefused, StoreUnavailable
from shared.storage.object_store import ObjectInfo
from shared.storage.s3 import S3Store
from shared.storage.settings import S3Settings

TRIAL_SECONDS: Final = 4.5
COUNT_SECONDS: Final = 1.5
ANSWER_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 1.5
PROBE_PREFIX: Final = "probes/"

STATUS_SECONDS: Final = 1.5
STATUS_KEPT_SECONDS: Final = 5.0

S3Status = Literal["connected", "disconnected", "error"]
TrialCode = Literal[
    "usable",
    "usable_large",
    "not_configured",
    "unreachable",
    "wrong_credentials",
    "access_denied",
    "no_such_bucket",
    "clock_skewed",
    "refused",
    "not_writable",
]
"""How a trial came out; `usable_large` where there was no time to count all objects. Pages have words for each."""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """`object_count` is None unless the bucket was listed."""

    code: TrialCode
    message: str
    bucket: str
    object_count: int | None = None

    @property
    def success(self) -> bool:
        return self.code in ("usable", "usable_large")


@dataclass(slots=True)
class _Trial:
    """How far a trial came, for the case that its time is up."""

    settings: S3Settings
    reached: bool = False
    object_count: int | None = None
    all_counted: bool = False

    def ended(self, code: TrialCode, message: str) -> TrialOutcome:
        return TrialOutcome(code, message, self.settings.bucket, self.object_count)

    async def run(self) -> TrialOutcome:
        async with S3Store(self.settings) as store:
            try:
                await store.check()
            except StoreRefused as error:
                return self.ended(_refusal_code(error), _refusal(error, self.settings))
            except StoreUnavailable as error:
                return self.ended("unreachable", f"The endpoint {self.settings.endpoint} can't be reached: {error}.")
            self.reached = True
            try:
                await self._count(store)
                await _write(store)
            except (StoreRefused, StoreUnavailable, ObjectNotFound) as error:
                return self.ended("not_writable", f"The bucket {self.settings.bucket!r} is not writable: {error}.")
        counted = f"{self.object_count} objects" if self.all_counted else f"at least {self.object_count} objects"
        message = f"The bucket {self.settings.bucket!r} can be read and written; it holds {counted}."
        return self.ended("usable" if self.all_counted else "usable_large", message)

    async def _count(self, store: S3Store) -> None:
        """Count for so long: large buckets are listed by thousands."""
        self.object_count = 0
        until = time.monotonic() + COUNT_SECONDS
        # The listing is a generator, and is left in the middle.
        async with aclosing(cast(AsyncGenerator[ObjectInfo, None], store.list())) as objects:
            async for _ in objects:
                self.object_count += 1
                if time.monotonic() > until:
                    return
        self.all_counted = True

    def out_of_time(self) -> TrialOutcome:
        if not self.reached:
            message = f"The endpoint {self.settings.endpoint} can't be reached: no answer in time."
            return self.ended("unreachable", message)
        return self.ended("not_writable", f"The bucket {self.settings.bucket!r} is not writable: no answer in time.")


class BucketTrials:
    """Tries buckets, each within `TRIAL_SECONDS`; a trial whose time is up cleans up behind itself."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[TrialOutcome]] = set()

    async def run(self, settings: S3Settings) -> TrialOutcome:
        """List the bucket, write a small object into it and remove it again."""
        impatient = settings.model_copy(
            update={"connect_seconds": CONNECT_SECONDS, "answer_seconds": ANSWER_SECONDS, "connections": 2}
        )
        trial = _Trial(impatient)
        task = asyncio.create_task(trial.run())
        self._running.add(task)
        task.add_done_callback(self._ended)
        # Not cancelled at the deadline: cut off in the middle, a trial would leave its object behind.
        await asyncio.wait([task], timeout=TRIAL_SECONDS)
        return task.result() if task.done() else trial.out_of_time()

    def _ended(self, task: asyncio.Task[TrialOutcome]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has seen it; for one whose time was up it no longer matters


class BucketStatus:
    """Whether the bucket of the running services answers; asked at most every `STATUS_KEPT_SECONDS`."""

    def __init__(self, bucket: S3Store | None) -> None:
        self._bucket = bucket
        self._status: S3Status = "disconnected"
        self._known_until = float("-inf")
        self._asked_at: S3Settings | None = None
        self._asking = asyncio.Lock()

    async def get(self, *, enabled: bool) -> S3Status:
        """`disconnected` while S3 is off or does not answer, `error` when it answers and refuses."""
        if self._bucket is None or not enabled:
            return "disconnected"
        async with self._asking:
            if time.monotonic() > self._known_until or self._asked_at != self._bucket.settings:
                self._asked_at = self._bucket.settings
                self._status = await _ask(self._bucket)
                self._known_until = time.monotonic() + STATUS_KEPT_SECONDS
        return self._status


async def _ask(bucket: S3Store) -> S3Status:
    try:
        async with asyncio.timeout(STATUS_SECONDS):
            await bucket.check()
    except (StoreUnavailable, TimeoutError):
        return "disconnected"
    except StoreRefused:
        return "error"
    return "connected"


async def _write(store: S3Store) -> None:
    key = f"{PROBE_PREFIX}{new_id()}"
    await store.put_bytes(key, b"mediabus", content_type="text/plain")
    await store.delete(key)


def _refusal_code(error: StoreRefused) -> TrialCode:
    for code in get_args(TrialCode):
        if code == error.code:
            return cast(TrialCode, code)
    return "refused"


def _refusal(error: StoreRefused, settings: S3Settings) -> str:
    if error.code == "wrong_credentials":
        return f"Wrong credentials: {settings.endpoint} does not know them, or the secret or the region is wrong."
    if error.code == "no_such_bucket":
        return f"No such bucket: {settings.endpoint} has no bucket {settings.bucket!r}."
    if error.code == "access_denied":
        return f"Wrong credentials: {settings.endpoint} knows them, but they may not list {settings.bucket!r}."
    return f"The store refused: {error}."
