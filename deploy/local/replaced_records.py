"""Restored records take the place of a stack's own: wholly or not at all, wherever a kill or a power cut comes between.

They are made in `postgres.restoring`. **`restored.json` is the decision**, with the keys that signed what they hold: it
is written when they are whole, and from there on there is no way back. The folders tell how far it came, and `settle`
goes on from there:

| decision | restoring | postgres | replaced | which means | and leads to |
|---|---|---|---|---|---|
| no | no | any | no | at rest | |
| no | yes | any | no | a restore came to no end | 1. restoring goes |
| no | any | yes | yes | all is changed but for the last | 2. restoring and replaced go |
| no | any | no | yes | the decision was lost | 3. replaced is postgres again, then 2 |
| yes | yes | yes | no | decided | 4. postgres and topics are set aside as replaced, then 5 |
| yes | yes | yes | yes | an earlier restore left replaced | that goes, then 4 |
| yes | yes | no | any | records are aside, or there were none | 5. topics aside, restoring is postgres, then 6 |
| yes | no | yes | any | changed but for the keys | 6. the stack has the keys, the decision goes, then 2 |
| yes | no | no | any | somebody has removed records | StackError, and nothing is touched |

Topics (`kafka`, `kafka.replaced`) go with the records, and behind them. Each step is durable before one that counts on
it, so that a power cut leaves a row of this table, too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from deploy.local.errors import StackError
from deploy.local.processes import FolderLock, write_private
from deploy.local.stack_folder import StackFolder
from deploy.local.topology import KAFKA, POSTGRES
from shared.storage.atomic_file import sync_directory

RESTORING: Final = f"{POSTGRES}.restoring"
"""Where records are restored, beside those that the stack has."""
_REPLACED: Final = (POSTGRES, KAFKA)
"""In this order: whether the records are aside tells what the rest means. Topics tell of what the records held."""

Report = Callable[[str], None]


def replace_records(folder: StackFolder, keys: Mapping[str, str], report: Report) -> None:
    """Have what was restored, all of it, be the stack's, with the keys that signed what it holds.

    **From the decision on there is no way back**: whoever finds it goes on to the end. So what it decides about is
    durable before it: the names in the folder of the restored records, and that folder's own.
    """
    sync_directory(folder.data(RESTORING))
    sync_directory(folder.data(""))
    write_private(_decision(folder), json.dumps(dict(keys)))
    _finish(folder)
    _clear(folder, report)


def settle(folder: StackFolder, report: Report) -> None:
    """Go on with a change of places that was decided, and clear away what no restore needs any more.

    Nothing of the stack may run. To be called before anything of it is started. Repeating it, from wherever it was
    interrupted, leads to the same. What can't be removed is told of, and left to the next time.
    """
    if _decision(folder).exists():
        _finish(folder)
        report("a restore that was interrupted at its end is finished")
    else:
        _bring_back(folder)
    _clear(folder, report)


def leftovers(folder: StackFolder) -> Iterator[Path]:
    """What of restores lies beside the stack's own data; while nothing is decided, it is of no use."""
    candidates = (folder.data(RESTORING), *(_aside(folder, part) for part in _REPLACED))
    return (path for path in candidates if path.exists())


def _finish(folder: StackFolder) -> None:
    data = folder.data("")
    if folder.data(RESTORING).exists():
        for part in _REPLACED:
            if folder.data(part).exists():
                # The stack's own are in their place, so what bears this name is of an earlier restore.
                _remove(_aside(folder, part))
                folder.data(part).rename(_aside(folder, part))
        # Before the restored records come: else a power cut could leave them beside topics of before.
        sync_directory(data)
        folder.data(RESTORING).rename(folder.data(POSTGRES))
        sync_directory(data)
    elif not folder.data(POSTGRES).exists():
        raise StackError(
            f"{_decision(folder)} says that restored records are the stack's, but {folder.data(POSTGRES)} is gone: "
            "remove that file to have what the restore replaced, as far as it is there, and restore again"
        )
    own: dict[str, Any] = json.loads(folder.secrets.read_text())
    write_private(folder.secrets, json.dumps({**own, **json.loads(_decision(folder).read_text())}))
    _decision(folder).unlink()
    # Before what was replaced is removed: should the decision come back, it finds the records in their place.
    sync_directory(folder.root)


def _bring_back(folder: StackFolder) -> None:
    """The decision is written before anything moves, so nobody should come here; should it be lost, nothing else is."""
    if folder.data(POSTGRES).exists() or not _aside(folder, POSTGRES).exists():
        return
    # The records last: until they are back, whoever comes again does the same.
    for part in reversed(_REPLACED):
        if _aside(folder, part).exists() and not folder.data(part).exists():
            _aside(folder, part).rename(folder.data(part))
    sync_directory(folder.data(""))


def _clear(folder: StackFolder, report: Report) -> None:
    for path in leftovers(folder):
        try:
            _remove(path)
        except StackError as error:
            report(str(error))


def _remove(path: Path) -> None:
    """Raises StackError for what can't be removed, or is at work still."""
    if not path.exists():
        return
    if FolderLock(path).is_held():
        raise StackError(f"{path} is left by a restore, and a server works in it still: end that one, then try again")
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise StackError(
            f"{path} is left by a restore and of no use, but can't be removed ({error}): remove it by hand"
        ) from error


def _aside(folder: StackFolder, part: str) -> Path:
    return folder.data(f"{part}.replaced")


def _decision(folder: StackFolder) -> Path:
    return folder.root / "restored.json"
