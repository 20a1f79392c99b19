"""What axe-core finds on a page; the program comes from its npm package and is checked against our digest.

`python -m tests.browser.axe_core` fetches it into the cache folder, unless it is there, and prints where it lies.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local.cache import cache_folder, exclusive
from deploy.local.errors import StackError
from deploy.local.npm_package import fetch_package

if TYPE_CHECKING:
    from playwright.async_api import Page

PACKAGE = "axe-core@4.14.1"
INTEGRITY = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
"""SHA-512 of the package, as npm's lock files have it."""

GRAVE = frozenset({"serious", "critical"})
_PROGRAM = "package/axe.min.js"
_RUN = "() => axe.run(document, { resultTypes: ['violations'] })"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken, and where."""

    rule: str
    impact: str
    about: str
    elements: tuple[str, ...]

    def __str__(self) -> str:
        return "\n    ".join((f"{self.rule} ({self.impact}): {self.about}", *self.elements))


def ensure_axe() -> Path:
    """Where the program lies, fetched by npm if need be, in seconds. Raises StackError."""
    folder = cache_folder() / "axe-core"
    target = folder / f"{PACKAGE}.min.js"
    with exclusive(folder):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as temporary:
                package = fetch_package(PACKAGE, Path(temporary), purpose="axe-core, which looks at pages")
                _verify(package)
                unpacked = Path(temporary) / "axe.min.js"
                unpacked.write_bytes(_unpacked(package))
                # The rename makes the file appear whole.
                unpacked.rename(target)
    return target


async def findings(page: Page, program: Path) -> list[Finding]:
    """What is serious or critical on the page as it stands."""
    await page.evaluate(_text(program))
    report: dict[str, Any] = await page.evaluate(_RUN)
    return [_finding(broken) for broken in report["violations"] if broken["impact"] in GRAVE]


def _finding(broken: dict[str, Any]) -> Finding:
    elements = tuple(f"{node['html']}: {node['failureSummary']}" for node in broken["nodes"])
    return Finding(broken["id"], broken["impact"], broken["help"], elements)


@functools.cache
def _text(program: Path) -> str:
    return program.read_text()


def _verify(package: Path) -> None:
    actual = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if actual != INTEGRITY:
        raise StackError(f"{PACKAGE} is not the package we know: sha512 is {actual}, expected {INTEGRITY}")


def _unpacked(package: Path) -> bytes:
    with tarfile.open(package, "r:gz") as archive:
        member = archive.extractfile(_PROGRAM)
        if member is None:
            raise StackError(f"{PACKAGE} holds no file {_PROGRAM}")
        with member:
            return member.read()


if __name__ == "__main__":
    try:
        print(ensure_axe())
    except StackError as reason:
        sys.exit(f"error: {reason}")
