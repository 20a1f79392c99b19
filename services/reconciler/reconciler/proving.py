"""Reads what a plan would copy from: other bytes of the same size look as good in a listing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

from reconciler.comparison import FileClass, Finding, Recorded, Stored, class_of, holds
from shared.storage.errors import ObjectNotFound
from shared.storage.object_store import ObjectStore, digest

READS_AT_ONCE: Final = 8
FINDINGS_AT_ONCE: Final = 1000

Prove = Callable[[Finding], Awaitable[Finding]]


async def proven(findings: AsyncIterator[Finding], prove: Prove) -> AsyncIterator[Finding]:
    """The same findings in the same order, those among them proven that lack something; raises what `prove` raises."""
    waiting: list[Finding] = []
    doubtful = 0
    async for finding in findings:
        waiting.append(finding)
        doubtful += _is_doubtful(finding)
        if doubtful == READS_AT_ONCE or len(waiting) == FINDINGS_AT_ONCE:
            for one in await _all_proven(waiting, prove):
                yield one
            waiting, doubtful = [], 0
    for one in await _all_proven(waiting, prove):
        yield one


def _is_doubtful(finding: Finding) -> bool:
    return finding.record is not None and finding.kind not in (FileClass.SYNCED, FileClass.UNSETTLED)


async def _all_proven(findings: list[Finding], prove: Prove) -> list[Finding]:
    doubtful = [position for position, finding in enumerate(findings) if _is_doubtful(finding)]
    read = await asyncio.gather(*(prove(findings[position]) for position in doubtful), return_exceptions=True)
    for position, outcome in zip(doubtful, read, strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        findings[position] = outcome
    return findings


class Proof:
    """Hashes stored bytes, unless the store recorded their checksum when they were written."""

    def __init__(self, bucket: ObjectStore, disk: ObjectStore) -> None:
        self._bucket = bucket
        self._disk = disk

    async def of(self, finding: Finding) -> Finding:
        """The finding as the bytes themselves tell it. What went since it was listed stays as it was listed."""
        record = finding.record
        assert record is not None, "what no record names is compared with nothing"
        bucket = await self._read(self._bucket, record, finding.bucket)
        disk = await self._read(self._disk, record, finding.disk)
        return replace(finding, kind=class_of(record, bucket, disk), bucket=bucket, disk=disk)

    async def _read(self, store: ObjectStore, record: Recorded, listed: Stored | None) -> Stored | None:
        if listed is None or record.sha256 is None or listed.sha256 is not None or not holds(record, listed):
            return listed
        info = await store.stat(record.key)
        if info is not None and info.sha256 == record.sha256:
            return replace(listed, sha256=info.sha256)
        try:
            read = await digest(store, record.key)
        except ObjectNotFound:
            return listed
        return replace(listed, sha256=read.sha256)
