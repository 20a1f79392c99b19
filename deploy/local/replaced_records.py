"""Restored records take the place of a stack's own: wholly or not at all, wherever a kill comes in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deploy.local.processes import write_private
from deploy.local.stack_folder import StackFolder
from deploy.local.topology import KAFKA, POSTGRES

RESTORING: Final = f"{POSTGRES}.restoring"
"""Where records are restored, beside those that the stack has."""
_REPLACED: Final = (KAFKA, POSTGRES)
"""What goes with the records: topics tell of what they held."""


def replace_records(folder: StackFolder, keys: Mapping[str, str]) -> None:
    """Have what was restored, all of it, be the stack's, with the keys that signed what it holds.

    **From the first line on there is no way back**: the keys lie in a file, and whoever finds it goes on to the end.
    """
    write_private(_decision(folder), json.dumps(dict(keys)))
    settle(folder)


def settle(folder: StackFolder) -> bool:
    """Go on with a change of places that was decided, undo what was not; True where there was one to finish.

    Nothing of the stack may run. To be called before anything of it is started.
    """
    is_decided = _decision(folder).exists()
    if is_decided:
        if folder.data(RESTORING).exists():
            for part in _REPLACED:
                if folder.data(part).exists():
                    folder.data(part).rename(_aside(folder, part))
            folder.data(RESTORING).rename(folder.data(POSTGRES))
        own: dict[str, Any] = json.loads(folder.secrets.read_text())
        write_private(folder.secrets, json.dumps({**own, **json.loads(_decision(folder).read_text())}))
    else:
        for part in _REPLACED:
            if _aside(folder, part).exists() and not folder.data(part).exists():
                _aside(folder, part).rename(folder.data(part))
    for part in _REPLACED:
        shutil.rmtree(_aside(folder, part), ignore_errors=True)
    _decision(folder).unlink(missing_ok=True)
    return is_decided


def _aside(folder: StackFolder, part: str) -> Path:
    return folder.data(f"{part}.replaced")


def _decision(folder: StackFolder) -> Path:
    return folder.root / "restored.json"
