"""What a killed supervisor, or a killed restore, has left running in the folder of a stack."""

from __future__ import annotations

import asyncio
from typing import Final

from deploy.local.processes import LOCK_NAME, RECORD_NAME, FolderLock, end_recorded
from deploy.local.stack_folder import StackFolder

END_SECONDS: Final = 15.0
"""For what shuts itself down, as the kernel told it to when its parent died."""


async def end_what_was_left(folder: StackFolder) -> None:
    """Return when nothing works in any data folder of the stack; to be called by who holds the stack.

    **No two servers ever work in one data folder, and none is removed or renamed under one**: what is recorded is
    ended, and the lock of each folder is waited for, since what has lost its record holds it to its end, too.
    StackError names what does not end.
    """
    folders = folder.data_folders()
    await asyncio.gather(*(end_recorded(one / RECORD_NAME) for one in folders))
    for one in folders:
        if (one / LOCK_NAME).exists():
            lock = FolderLock(one)
            await lock.acquire(END_SECONDS)
            lock.release()
