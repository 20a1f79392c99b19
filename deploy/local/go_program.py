"""Programs for checks and tests, built from source where Go is installed, once per user into the cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.cache import cache_folder, exclusive

BUILD_SECONDS = 1200.0


class NotBuilt(Exception):
    """The program could not be built; the text says what to do."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """One program: its name in messages and in the cache, and the variable that names another one instead.

    `build_in` makes it in an empty folder and returns where it lies there.
    """

    title: str
    file_name: str
    variable: str
    build_in: Callable[[Path], Path]

    def find(self) -> Path | None:
        """Where it is: what the variable names, or the one built before; None where there is neither."""
        named = os.environ.get(self.variable)
        program = Path(named) if named else self._target()
        return program if program.exists() else None

    def build(self) -> Path:
        """Build it unless it is there, in minutes and at low priority. Raises NotBuilt."""
        if os.environ.get(self.variable):
            raise NotBuilt(f"{self.variable} names no file: correct it, or unset it to have {self.title} built")
        if shutil.which("go") is None:
            raise NotBuilt(f"Go is not installed: install it, or name a program with {self.variable}")
        target = self._target()
        with exclusive(target.parent, timeout_seconds=BUILD_SECONDS):
            if not target.exists():
                with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                    self.build_in(Path(folder)).replace(target)
        return target

    def print_path(self) -> None:
        """What `python -m` of its module does: print where it is, built if need be, or exit with the reason."""
        try:
            print(self.find() or self.build())
        except NotBuilt as reason:
            sys.exit(f"error: {reason}")

    def _target(self) -> Path:
        return cache_folder() / "bin" / self.file_name


def run_go(arguments: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run Go in a folder and return what it printed. Raises NotBuilt."""
    try:
        done = subprocess.run(
            ["nice", "-n", "19", "go", *arguments],
            env={**os.environ, **(environment or {})},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise NotBuilt(f"go {' '.join(arguments)} did not end within {BUILD_SECONDS:g} s: try again") from error
    except subprocess.CalledProcessError as error:
        raise NotBuilt(f"go {' '.join(arguments)} failed: {error.stderr[-2000:]}") from error
    return done.stdout
