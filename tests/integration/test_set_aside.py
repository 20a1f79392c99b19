"""What happens to copies that a task could not remove at its end."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from s3_syncer.file_task_repository import FileTaskRepository, Verdict
from s3_syncer.set_aside import SetAside
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import FileAt, FilePlace, FileStep, RunFileTaskV1
from shared.identifiers import new_id
from shared.storage.errors import StoreRefused
from shared.storage.local_disk import LocalDiskStore
from shared.testing.databases import TestDatabase

pytestmark = pytest.mark.stack


async def task(work: UnitOfWork, verdict: Verdict | None) -> UUID:
    """A task that ended so; None: it is under way."""
    step = FileStep(kind="remove", target=FileAt(place=FilePlace.DISK, key="products/a"))
    command = RunFileTaskV1(task_id=new_id(), scope="scope", steps=(step,), requested_at=datetime.now(UTC))
    async with work.begin() as transaction:
        tasks = FileTaskRepository(transaction.connection)
        await tasks.arrive(command)
        if verdict is not None:
            await tasks.end(command.task_id, None, verdict, [], datetime.now(UTC))
    return command.task_id


def staying() -> float | None:
    return REGISTRY.get_sample_value("mediabus_set_aside_files")


async def test_copies_of_tasks_that_succeeded_go_and_of_old_others_it_is_told(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Database(database.dsn("s3-syncer"), application_name="test")
    work = UnitOfWork(opened, source="/mediabus/s3-syncer", schema="sync")
    over = f"set-aside/{await task(work, 'succeeded')}/0"
    stay = [
        f"set-aside/{await task(work, 'failed')}/0",
        f"set-aside/{await task(work, None)}/0",
        f"set-aside/{new_id()}/products/of a change of somebody else's",
        "set-aside/no id/a",
    ]
    async with LocalDiskStore(tmp_path) as disk:
        for key in (over, *stay):
            await disk.put_bytes(key, b"the only copy")
        old = time.time() - 25 * 3600
        os.utime(tmp_path / stay[0], (old, old))

        async def refuse(key: str) -> None:
            raise StoreRefused("access_denied", f"no removal of {key}")

        sweep = SetAside(work, [disk])
        with monkeypatch.context() as refusing:
            refusing.setattr(disk, "delete", refuse)
            await sweep.sweep()
        assert staying() == 2
        await sweep.sweep()
        left: list[Any] = [info.key async for info in disk.list("set-aside/")]
        assert sorted(left) == sorted(stay)
        assert staying() == 1
    await opened.close()
