"""Where `mediabus login` keeps whom to ask and as whom: one file, which its owner alone may read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from deploy.cli.problems import NotReached


@dataclass(frozen=True, slots=True)
class Profile:
    """An installation, and an API key or the cookie of a session there."""

    url: str
    key: str | None = None
    cookie: tuple[str, str] | None = None

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """None where nobody logged in; raises NotReached for a file that is none of ours."""
        try:
            told = json.loads(file.read_text())
            return cls._of(told)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotReached(f"{file} can't be read ({error!r}): `mediabus login` writes it anew") from error

    @classmethod
    def _of(cls, told: Any) -> Self:
        url, key, cookie = told["url"], told.get("key"), told.get("cookie")
        if not isinstance(url, str) or (key is None) == (cookie is None):
            raise ValueError("it needs a url, and a key or a cookie")
        name_and_value = None if cookie is None else (str(cookie[0]), str(cookie[1]))
        return cls(url, None if key is None else str(key), name_and_value)

    def write(self, file: Path) -> None:
        """In place of the one before, whole or not at all."""
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = file.with_name(f"{file.name}.{os.getpid()}")
        unfinished.unlink(missing_ok=True)
        # Made for its owner alone: it never is readable for anybody else, not even for a moment.
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(asdict(self), opened)
        unfinished.replace(file)


def profile_file(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "mediabus" / "profile.json"


def state_folder(environment: Mapping[str, str]) -> Path:
    """For what a later command goes on with."""
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "mediabus"
