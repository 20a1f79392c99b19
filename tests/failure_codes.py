"""The codes by which services tell what failed, as they stand in their sources: pages need words for each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
IN_ONE_PIECE = re.compile(r"(?:^|: )([a-z0-9]+(?:_[a-z0-9]+)+): ")
"""A code before its sentence; one without an underscore would be any word."""
CODED = frozenset({"MessageError", "NotComparable", "Conflict", "Refused"})
"""Errors whose first argument is a code, as it is of all that derive from them."""
ABSENCES = frozenset({"InfrastructureUnavailable"})


@dataclass(frozen=True)
class FailureCodes:
    """`raised` and `told` are codes of errors and of texts, `away` what may be absent, `counted` what the clock's work
    counts, `needed` what readiness asks for."""

    raised: frozenset[str]
    told: frozenset[str]
    away: frozenset[str]
    counted: frozenset[str]
    needed: frozenset[str]


def failure_codes() -> FailureCodes:
    """Those of all services and of what they share."""
    files = [file for place in ("services", "shared") for file in sorted((ROOT / place).rglob("*.py"))]
    modules = [ast.parse(file.read_text()) for file in files]
    nodes = [node for module in modules for node in ast.walk(module)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    constants = _constants(modules)
    coded, absences = _derived(classes, CODED), _derived(classes, ABSENCES)
    works = {
        name
        for call in calls
        if ast.unparse(call.func).endswith("scheduled.on")
        for work in call.args[1:]
        if (name := _name(work))
    }
    return FailureCodes(
        raised=frozenset({*_first_arguments(calls, coded, constants), *_own_codes(classes, coded)}),
        told=frozenset(_told(nodes)),
        away=frozenset(_first_arguments(calls, absences, constants)),
        counted=frozenset(_counted(nodes, works)),
        needed=frozenset(_needed(calls)),
    )


def _name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _constants(modules: Sequence[ast.Module]) -> dict[str, set[str]]:
    """The texts by the names that modules give them; a name may stand for another one elsewhere."""
    found: dict[str, set[str]] = {}
    for statement in (statement for module in modules for statement in module.body):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = _text(getattr(statement, "value", None))
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                found.setdefault(target.id, set()).add(value)
    return found


def _derived(classes: Sequence[ast.ClassDef], names: frozenset[str]) -> set[str]:
    known: set[str] = set()
    further = set(names)
    while further != known:
        known = set(further)
        further |= {one.name for one in classes if any(_name(base) in known for base in one.bases)}
    return known


def _first_arguments(calls: Sequence[ast.Call], names: set[str], constants: Mapping[str, set[str]]) -> Iterator[str]:
    for call in calls:
        if _name(call.func) in names and call.args:
            first = call.args[0]
            text = _text(first)
            yield from (one for one in constants.get(_name(first) or "", ()) if CODE.fullmatch(one))
            if text is not None and CODE.fullmatch(text):
                yield text


def _own_codes(classes: Sequence[ast.ClassDef], names: set[str]) -> Iterator[str]:
    """Of errors that give themselves their code."""
    for node in (node for one in classes if one.name in names for node in ast.walk(one)):
        if (
            isinstance(node, ast.Call)
            and _name(node.func) == "__init__"
            and node.args
            and (text := _text(node.args[0]))
        ):
            yield text


def _told(nodes: Sequence[ast.AST]) -> Iterator[str]:
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield from IN_ONE_PIECE.findall(node.value)


def _counted(nodes: Sequence[ast.AST], works: set[str]) -> Iterator[str]:
    for work in nodes:
        if isinstance(work, ast.AsyncFunctionDef) and work.name in works:
            for node in ast.walk(work):
                if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
                    yield from (text for key in node.value.keys if (text := _text(key)) is not None)


def _needed(calls: Sequence[ast.Call]) -> Iterator[str]:
    for call in calls:
        for keyword in call.keywords:
            if keyword.arg == "checks" and isinstance(keyword.value, ast.Dict):
                yield from (text for key in keyword.value.keys if (text := _text(key)) is not None)
