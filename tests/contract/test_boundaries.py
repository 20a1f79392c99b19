"""Services share the kernel and nothing else: no service imports another, one module of each speaks SQL."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SQL = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\s", re.ASCII)
PACKAGES = {
    package.name: package
    for service in sorted((ROOT / "services").iterdir())
    for package in service.iterdir()
    if (package / "__init__.py").exists()
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def modules_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_there_are_services_to_look_at() -> None:
    assert {"ingest_api", "image_processor"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_service_imports_another(package: str) -> None:
    others = set(PACKAGES) - {package}
    for module in modules_of(PACKAGES[package]):
        roots = {name.split(".")[0] for name in imported(module)}
        assert not roots & (others | {"deploy", "tests"}), module


def test_the_kernel_knows_no_service() -> None:
    for module in modules_of(ROOT / "shared"):
        roots = {name.split(".")[0] for name in imported(module)}
        assert not roots & (set(PACKAGES) | {"deploy", "tests"}), module


@pytest.mark.parametrize("package", PACKAGES)
def test_only_repositories_touch_asyncpg_and_sql_stands_in_its_files(package: str) -> None:
    for module in modules_of(PACKAGES[package]):
        is_repository = module.name == "repository.py" or module.parent.name == "repositories"
        if not is_repository:
            assert "asyncpg" not in imported(module), module
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not SQL.match(node.value), (module, node.lineno)


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_stay_short_and_have_telling_names(package: str) -> None:
    for module in modules_of(PACKAGES[package]):
        assert module.stem not in {"utils", "helpers", "manager", "common", "misc"}, module
        assert len(module.read_text().splitlines()) <= 450, f"{module} is long: does it still share one set of needs?"
