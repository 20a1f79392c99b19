"""What a comparison found, in the words of the outside contract."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from reconciler.comparison import FileClass, Finding
from reconciler.layout import product_of
from shared.events import RunCounts

MOST_BYTES = 700_000
"""Of one answer: messages are bounded, and counts say the rest."""

ORPHANED = frozenset({FileClass.ORPHANED_IN_BUCKET})
MISSING = frozenset({FileClass.MISSING_IN_BUCKET, FileClass.MISSING_EVERYWHERE})

_PROBLEMS = {
    FileClass.ORPHANED_ON_DISK: "lies on the disk without a record",
    FileClass.MISSING_ON_DISK: "its copy on the disk is gone; the bucket has it",
    FileClass.CONTENT_DIFFERS: "what is stored is not what the record says",
    FileClass.STALE_TEMPORARY: "an unfinished file that nobody writes to any more",
}


@dataclass(slots=True)
class FileLists:
    """The four lists of one product."""

    orphaned: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    synced: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        if finding.kind in ORPHANED:
            self.orphaned.append(finding.key)
        elif finding.kind in MISSING:
            self.missing.append(finding.key)
        elif finding.kind is FileClass.SYNCED:
            self.synced.append(finding.key)
        else:
            self.errors.append(f"{finding.key}: {_PROBLEMS[finding.kind]}")

    @property
    def is_clean(self) -> bool:
        return not (self.orphaned or self.missing or self.errors)

    def body(self, product_id: UUID | None) -> dict[str, Any]:
        return {
            "productId": str(product_id) if product_id else None,
            "orphanedFiles": self.orphaned,
            "missingFiles": self.missing,
            "syncedFiles": self.synced,
            "errors": self.errors,
        }


class ProductsReport:
    """Collects findings of one product or of all; every product that is known has its lists, also an empty one."""

    def __init__(self, product_ids: list[UUID]) -> None:
        self._lists: dict[UUID | None, FileLists] = {product_id: FileLists() for product_id in product_ids}
        self._known = frozenset(product_ids)
        self.images = 0

    def add(self, finding: Finding) -> None:
        record = finding.record
        if record is not None and not record.is_removed:
            self.images += 1
        if finding.kind is FileClass.UNSETTLED:
            return
        owner = record.owner_id if record is not None else product_of(finding.key)
        self._of(owner).add(finding)
        if owner is None:
            self.complain(None, f"{finding.key}: lies in no product's folder, and is left alone")

    def complain(self, product_id: UUID | None, problem: str) -> None:
        self._of(product_id).errors.append(problem)

    def _of(self, product_id: UUID | None) -> FileLists:
        return self._lists.setdefault(product_id, FileLists())

    def of_product(self, product_id: UUID) -> dict[str, Any]:
        return bounded(self._of(product_id).body(product_id))

    def of_all(self) -> dict[str, Any]:
        lists = self._lists
        body = {
            "totalProducts": len(self._known),
            "totalImages": self.images,
            "orphanedFiles": sum(len(one.orphaned) for one in lists.values()),
            "missingFiles": sum(len(one.missing) for one in lists.values()),
            "syncedFiles": sum(len(one.synced) for one in lists.values()),
            "errors": sum(len(one.errors) for one in lists.values()),
            "results": [one.body(product_id) for product_id, one in lists.items()],
        }
        if _size_bytes(body) > MOST_BYTES:
            # What is well needs no list; the counts hold all.
            body["results"] = [one.body(product_id) for product_id, one in lists.items() if not one.is_clean]
        return bounded(body)


class MediaReport:
    """Counts of every class, and the first keys of each but the good ones."""

    MOST_KEYS = 200

    def __init__(self) -> None:
        self._counts: dict[FileClass, int] = dict.fromkeys(FileClass, 0)
        self._keys: dict[FileClass, list[str]] = {kind: [] for kind in FileClass if kind is not FileClass.SYNCED}
        self._errors: list[str] = []

    def add(self, finding: Finding) -> None:
        self._counts[finding.kind] += 1
        keys = self._keys.get(finding.kind)
        if keys is not None and len(keys) < self.MOST_KEYS:
            keys.append(finding.key)

    def complain(self, _: UUID | None, problem: str) -> None:
        if len(self._errors) < self.MOST_KEYS:
            self._errors.append(problem)

    def body(self) -> dict[str, Any]:
        return bounded(
            {
                "counts": {kind.value: count for kind, count in self._counts.items()},
                "files": {kind.value: keys for kind, keys in self._keys.items() if keys},
                "errors": self._errors,
            }
        )


@dataclass(slots=True)
class Tally:
    """Findings counted as they come."""

    found: Counter[FileClass] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        self.found[finding.kind] += 1

    @property
    def total(self) -> int:
        return self.found.total()

    def counts(self) -> RunCounts:
        found = self.found
        return RunCounts(
            synced=found[FileClass.SYNCED],
            orphaned=found[FileClass.ORPHANED_IN_BUCKET] + found[FileClass.ORPHANED_ON_DISK],
            missing=sum(
                found[kind]
                for kind in (FileClass.MISSING_IN_BUCKET, FileClass.MISSING_ON_DISK, FileClass.MISSING_EVERYWHERE)
            ),
            differing=found[FileClass.CONTENT_DIFFERS],
            errors=found[FileClass.STALE_TEMPORARY],
        )


def bounded(body: dict[str, Any]) -> dict[str, Any]:
    """The answer as it is, or with its lists cut so that a message can carry it, and `truncated` set."""
    while _size_bytes(body) > MOST_BYTES and _holds_lists(body):
        body = {**_halved(body), "truncated": True}
    return body


def _holds_lists(body: dict[str, Any]) -> bool:
    return any(
        _holds_lists(value) if isinstance(value, dict) else isinstance(value, list) and value for value in body.values()
    )


def _halved(body: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value[: len(value) // 2]
        if isinstance(value, list)
        else _halved(value)
        if isinstance(value, dict)
        else value
        for name, value in body.items()
    }


def _size_bytes(body: dict[str, Any]) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode())
