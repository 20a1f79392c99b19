"""What a comparison found, in the words of the outside contract."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from reconciler.comparison import FileClass, Finding
from reconciler.layout import product_of
from shared.events import RunCounts

MOST_BYTES = 700_000
"""Of one answer, for messages are bounded; longer lists are kept in parts of this size."""

SEPARATOR_BYTES = 2

ORPHANED = frozenset({FileClass.ORPHANED_IN_BUCKET})
MISSING = frozenset({FileClass.MISSING_IN_BUCKET, FileClass.MISSING_EVERYWHERE})

PROBLEMS = {
    FileClass.ORPHANED_ON_DISK: "lies on the disk without a record",
    FileClass.MISSING_ON_DISK: "its copy on the disk is gone; the bucket has it",
    FileClass.CONTENT_DIFFERS: "what is stored is not what the record says",
    FileClass.STALE_TEMPORARY: "an unfinished file that nobody writes to any more",
}


@dataclass(frozen=True, slots=True)
class Report:
    """`body` fits into a message. Where the lists do not, they are empty there, and `parts` has all that is in them."""

    body: dict[str, Any]
    parts: list[list[dict[str, Any]]] = field(default_factory=list)


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
            self.errors.append(f"{finding.key}: {finding.kind}: {PROBLEMS[finding.kind]}")

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
            self.complain(None, f"{finding.key}: outside_folders: lies in no product's folder, and is left alone")

    def complain(self, product_id: UUID | None, problem: str) -> None:
        self._of(product_id).errors.append(problem)

    def _of(self, product_id: UUID | None) -> FileLists:
        return self._lists.setdefault(product_id, FileLists())

    def of_product(self, product_id: UUID) -> Report:
        lists = self._of(product_id)
        body = lists.body(product_id)
        if _size_bytes(body) <= MOST_BYTES:
            return Report(body)
        return Report(FileLists().body(product_id), _in_parts([(product_id, lists)]))

    def of_all(self) -> Report:
        lists = self._lists
        body = {
            "totalProducts": len(self._known),
            "totalImages": self.images,
            "orphanedFiles": sum(len(one.orphaned) for one in lists.values()),
            "missingFiles": sum(len(one.missing) for one in lists.values()),
            "syncedFiles": sum(len(one.synced) for one in lists.values()),
            "errors": sum(len(one.errors) for one in lists.values()),
        }
        whole = {**body, "results": [one.body(product_id) for product_id, one in lists.items()]}
        if _size_bytes(whole) <= MOST_BYTES:
            return Report(whole)
        return Report({**body, "results": []}, _in_parts(lists.items()))


def _in_parts(lists: Iterable[tuple[UUID | None, FileLists]]) -> list[list[dict[str, Any]]]:
    """Entries as in `results`, a message's worth at a time; a product that goes on in the next part has one in each."""
    parts: list[list[dict[str, Any]]] = [[]]
    size_bytes = 0
    for product_id, one in lists:
        entry: dict[str, Any] | None = None
        pieces: list[tuple[str | None, Any]] = [
            (name, value) for name, values in one.body(None).items() for value in values or ()
        ]
        for name, value in pieces or [(None, None)]:
            value_bytes = _size_bytes(value) + SEPARATOR_BYTES
            if entry is None or size_bytes + value_bytes > MOST_BYTES:
                entry = FileLists().body(product_id)
                entry_bytes = _size_bytes(entry) + SEPARATOR_BYTES
                if parts[-1] and size_bytes + entry_bytes + value_bytes > MOST_BYTES:
                    parts.append([])
                    size_bytes = 0
                parts[-1].append(entry)
                size_bytes += entry_bytes
            if name is not None:
                entry[name].append(value)
                size_bytes += value_bytes
    return parts


class MediaReport:
    """Counts of every class, and the first keys of each but the good ones; `truncated` where there are more.

    All that is to be repaired is in the plan.
    """

    MOST_KEYS = 200

    def __init__(self) -> None:
        self._counts: dict[FileClass, int] = dict.fromkeys(FileClass, 0)
        self._keys: dict[FileClass, list[str]] = {kind: [] for kind in FileClass if kind is not FileClass.SYNCED}
        self._errors: list[str] = []
        self._room_bytes = MOST_BYTES
        self._is_whole = True

    def add(self, finding: Finding) -> None:
        self._counts[finding.kind] += 1
        if (keys := self._keys.get(finding.kind)) is not None:
            self._show(keys, finding.key)

    def complain(self, _: UUID | None, problem: str) -> None:
        self._show(self._errors, problem)

    def _show(self, shown: list[str], value: str) -> None:
        if len(shown) < self.MOST_KEYS and self._room_bytes > 0:
            shown.append(value)
            self._room_bytes -= _size_bytes(value) + 1
        else:
            self._is_whole = False

    def report(self) -> Report:
        body: dict[str, Any] = {
            "counts": {kind.value: count for kind, count in self._counts.items()},
            "files": {kind.value: keys for kind, keys in self._keys.items() if keys},
            "errors": self._errors,
        }
        return Report(body if self._is_whole else {**body, "truncated": True})


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


def _size_bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())
