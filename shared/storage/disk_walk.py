"""Walk the files below a folder in the order of their keys, in bounded memory. Blocks: call it in a thread."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from shared.storage.keys import TEMPORARY_PREFIX

_logger: Final = logging.getLogger(__name__)


class FoundFile(NamedTuple):
    """A file that the walk met; it may be gone by the time it is looked at."""

    key: str
    entry: os.DirEntry[str]


def walk(root: Path, prefix: str = "", start_after: str = "", *, temporary: bool | None = False) -> Iterator[FoundFile]:
    """Give the files whose key begins with `prefix` and is greater than `start_after`, ordered by key.

    `temporary` gives the unfinished files instead of the finished ones, None both. Links are not followed, nor given.
    Memory is that of one folder per level. A folder that can't be read raises OSError: the walk never just skips
    one, except one that was removed meanwhile.
    """
    base = prefix.rpartition("/")[0]
    levels = [_sorted_entries(root, f"{base}/" if base else "")]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif found.key.endswith("/"):
            if found.key.startswith(prefix) and _may_hold_more(found.key, start_after):
                levels.append(_sorted_entries(root, found.key))
        elif (
            found.key.startswith(prefix)
            and found.key > start_after
            and temporary in (None, found.entry.name.startswith(TEMPORARY_PREFIX))
        ):
            yield found


def _sorted_entries(root: Path, folder_key: str) -> Iterator[FoundFile]:
    """Order one folder's entries as the keys below them are ordered.

    A folder sorts as its name and a slash: `a.b` comes before `a/b` although `a` comes before `a.b`. Comparing
    strings by code point gives the order of their UTF-8 bytes.
    """
    try:
        with os.scandir(root / folder_key) as entries:
            found = [FoundFile(_key(folder_key, entry), entry) for entry in entries if not entry.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return iter(())
    found.sort(key=lambda one: one.key)
    return (one for one in found if _is_text(one.key, root))


def _key(folder_key: str, entry: os.DirEntry[str]) -> str:
    return f"{folder_key}{entry.name}/" if entry.is_dir(follow_symlinks=False) else folder_key + entry.name


def _is_text(key: str, root: Path) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        _logger.warning("A name below %s is not UTF-8 and is left alone: %r", root, os.fsencode(key))
        return False
    return True


def _may_hold_more(folder_key: str, start_after: str) -> bool:
    return folder_key > start_after or start_after.startswith(folder_key)
