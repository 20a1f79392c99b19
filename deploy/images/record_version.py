"""Make a service's name and version known to importlib.metadata without installing the service as a package.

`record_version.py PYPROJECT ENVIRONMENT`: its source stays under /app, where migrations are found beside it.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def record(pyproject: Path, environment: Path) -> Path:
    """Write the metadata into the environment's site-packages and return its folder."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    (packages,) = environment.glob("lib/python3.*/site-packages")
    folder = packages / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    print(record(Path(sys.argv[1]), Path(sys.argv[2])))
