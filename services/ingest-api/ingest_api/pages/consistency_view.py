"""Comparisons and plans as their pages show them: counted, worded by keys of texts, with addresses of pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from ingest_api.pages.previews import Previews
from ingest_api.reconciling import UNDER_WAY
from ingest_api.repositories.reconcile_runs import ReconcileRun
from shared.events import RunCounts, RunStatus

CHIP_KINDS: Final[Mapping[RunStatus, str]] = MappingProxyType(
    {
        RunStatus.COMPARING: "accent",
        RunStatus.AWAITING_APPROVAL: "busy",
        RunStatus.EXECUTING: "accent",
        RunStatus.UNDOING: "accent",
        RunStatus.COMPLETED: "good",
        RunStatus.FAILED: "bad",
        RunStatus.DISCARDED: "",
        RunStatus.PARTLY_UNDONE: "bad",
        RunStatus.UNDONE: "",
    }
)
UNDOABLE: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.PARTLY_UNDONE})

_COUNT_OF_WHY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "orphaned_in_bucket": "orphaned",
        "orphaned_on_disk": "orphaned",
        "missing_in_bucket": "missing",
        "missing_on_disk": "missing",
        "missing_everywhere": "missing",
        "content_differs": "differing",
        "stale_temporary": "errors",
    }
)
COUNTS: Final = ("synced", "orphaned", "missing", "differing", "errors")
"""What a comparison counts, in the order in which it is shown."""


# --- comparisons ------------------------------------------------------------------------------------------------------


_PROBLEM: Final = re.compile(r"(?P<key>.+?): (?P<code>[a-z0-9]+(?:_[a-z0-9]+)*): (?P<detail>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong with one file of a comparison; of what is told otherwise, `key` is all that is known."""

    key: str
    code: str | None = None
    detail: str | None = None

    @classmethod
    def of(cls, told: str) -> FileProblem:
        """From `key: code: sentence`, as reports have it."""
        found = _PROBLEM.fullmatch(told)
        return cls(told) if found is None else cls(**found.groupdict())


@dataclass(frozen=True, slots=True)
class Standing:
    """How one product stands; `product_id` None is for keys of no product, `name` None for a product that is gone."""

    product_id: UUID | None
    name: str | None
    synced: int
    orphaned: tuple[str, ...]
    missing: tuple[str, ...]
    problems: tuple[FileProblem, ...]

    @property
    def images(self) -> int:
        return self.synced + len(self.missing)

    @property
    def differences(self) -> int:
        return len(self.orphaned) + len(self.missing) + len(self.problems)


def standings(entries: Sequence[Mapping[str, Any]], names: Mapping[UUID, str]) -> list[Standing]:
    """The entries of a report in the contract's words, those with most differences first."""
    found = []
    for entry in entries:
        product_id = UUID(entry["productId"]) if entry["productId"] else None
        found.append(
            Standing(
                product_id,
                names.get(product_id) if product_id else None,
                len(entry["syncedFiles"]),
                tuple(entry["orphanedFiles"]),
                tuple(entry["missingFiles"]),
                tuple(map(FileProblem.of, entry["errors"])),
            )
        )
    return sorted(found, key=lambda one: (-one.differences, (one.name or "").casefold()))


@dataclass(frozen=True, slots=True)
class FileShown:
    """One file of a comparison; `key` is its address in the bucket, `problem` what is wrong with it."""

    key: str
    picture: str | None
    problem: str | None = None

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def folder(self) -> str:
        """Where it lies below the product: weight and type, where the key has them."""
        return " · ".join(_folders(self.key))


def product_of(key: str) -> UUID | None:
    """The product in whose folder a key lies."""
    first, _, rest = key.partition("/")
    try:
        return UUID(rest.partition("/")[0]) if first == "products" else None
    except ValueError:
        return None


def _folders(key: str) -> tuple[str, ...]:
    """The folders of a key, without that of its product."""
    parts = PurePosixPath(key).parent.parts
    return parts[2:] if product_of(key) is not None else parts


# --- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with who asked for it; `requested_by` None is the nightly clock, or an account that is gone."""

    run: ReconcileRun
    product_name: str | None
    requested_by: str | None
    decided_by: str | None

    @property
    def is_under_way(self) -> bool:
        return self.run.status in UNDER_WAY

    @property
    def is_of_clock(self) -> bool:
        return self.run.requested_by is None

    @property
    def is_held_by_guard(self) -> bool:
        """Whether so much would go that a person has to look, not only because somebody wants to read it."""
        # The guard counts first; who wants to read gives no number.
        return (self.run.needs_approval_because or "")[:1].isdigit()

    @property
    def chip_kind(self) -> str:
        return CHIP_KINDS[self.run.status]

    @property
    def found(self) -> int:
        counts = self.run.counts
        return counts.orphaned + counts.missing + counts.differing + counts.errors

    @property
    def wanted(self) -> int:
        return self.run.counts.removals + self.run.counts.repairs

    @property
    def ended(self) -> int:
        return self.run.counts.done + self.run.counts.failed

    @property
    def share_percent(self) -> int:
        """Of what is carried out, or brought back, that has ended."""
        counts = self.run.counts
        if self.run.status is RunStatus.UNDOING:
            return 100 * (counts.undone + counts.undo_failed) // max(counts.done, 1)
        return min(100 * self.ended // max(self.wanted, 1), 100)

    @property
    def may_undo(self) -> bool:
        return self.run.status in UNDOABLE and self.run.counts.done > self.run.counts.undone


# --- plans ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CountChange:
    """One count of a comparison before the plan and after it."""

    name: str
    before: int
    after: int


def count_changes(counts: RunCounts, files: Sequence[Mapping[str, Any]], status: RunStatus) -> list[CountChange]:
    """What the counts become, as far as the plan goes: what else changes meanwhile is not in it.

    While a plan waits, or was discarded, that is what they would become; of one that was carried out, what was done
    counts, and of what was brought back nothing.
    """
    waits = status in (RunStatus.AWAITING_APPROVAL, RunStatus.DISCARDED)
    after = {name: getattr(counts, name) for name in COUNTS}
    for row in files:
        resolved = row["files"] if waits else row["done"]
        after[_COUNT_OF_WHY[row["why"]]] -= resolved
        if row["becomesSynced"]:
            after["synced"] += resolved
    return [CountChange(name, getattr(counts, name), max(after[name], 0)) for name in COUNTS]


@dataclass(frozen=True, slots=True)
class Deed:
    """Items of a plan that come to the same, summed up: what happens (a key of texts), how many, how much."""

    what: str
    items: int
    size_bytes: int
    ended: int
    failed: int


def deeds(groups: Sequence[Mapping[str, Any]]) -> list[Deed]:
    """What a plan does, removals first: these are what people fear."""
    summed: dict[str, list[int]] = {}
    for group in groups:
        sums = summed.setdefault(deed_of(group["action"], group["place"]), [0, 0, 0, 0])
        sums[0] += group["items"]
        sums[1] += group["sizeBytes"]
        sums[2] += group["items"] if group["status"] in ("done", "undoing", "undone", "undo_failed") else 0
        sums[3] += group["items"] if group["status"] in ("failed", "skipped") else 0
    return [Deed(what, *summed[what]) for what in DEEDS if what in summed]


DEEDS: Final = (
    "remove_bucket",
    "remove_disk",
    "remove_record",
    "discard",
    "make_record",
    "copy_bucket",
    "copy_disk",
    "refresh_record",
)
REMOVALS: Final = frozenset({"remove_bucket", "remove_disk", "remove_record", "discard"})
ITEM_CHIPS: Final[Mapping[str, str]] = MappingProxyType(
    {"done": "good", "failed": "bad", "undo_failed": "bad", "skipped": "", "undone": "", "planned": ""}
)


def deed_of(action: str, place: str) -> str:
    return f"{action}_{place}" if action in ("remove", "copy") else action


@dataclass(frozen=True, slots=True)
class ItemView:
    """One item of a plan; `picture` is None where there is none to show."""

    id: str
    what: str
    why: str
    key: str
    size_bytes: int
    status: str
    code: str | None
    detail: str | None
    picture: str | None
    product_name: str | None

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def folder(self) -> str:
        """Where it lies: the product by its name, and the folders below it."""
        return " · ".join((*((self.product_name,) if self.product_name else ()), *_folders(self.key)))

    @property
    def is_removal(self) -> bool:
        return self.what in REMOVALS

    @property
    def chip_kind(self) -> str:
        return ITEM_CHIPS.get(self.status, "accent")


def item_views(
    items: Sequence[Mapping[str, Any]], plan_id: UUID, previews: Previews, names: Mapping[UUID, str]
) -> list[ItemView]:
    """`names` are those of products."""
    return [
        ItemView(
            item["id"],
            deed_of(item["action"], item["place"]),
            item["why"],
            item["key"],
            item["sizeBytes"],
            item["status"],
            item["code"],
            item["detail"],
            _picture(item, plan_id, previews),
            names.get(owner) if (owner := product_of(item["key"])) else None,
        )
        for item in items
    ]


def _picture(item: Mapping[str, Any], plan_id: UUID, previews: Previews) -> str | None:
    """Where the file of an item is now, as far as the plan tells; what was put away lies in quarantine."""
    action, place, status, key = item["action"], item["place"], item["status"], item["key"]
    is_done = status in ("done", "undo_failed")
    if action == "remove":
        if is_done:
            return previews.of_object(f"quarantine/{plan_id}/{'' if place == 'bucket' else 'disk/'}{key}")
        return previews.of_object(key) if place == "bucket" and status != "failed" else None
    if action in ("make_record", "refresh_record"):
        return previews.of_object(key)
    if action == "copy":
        # Its source is the other place.
        is_in_bucket = place == "disk" or is_done
        return previews.of_object(key) if is_in_bucket else None
    return None


@dataclass(frozen=True, slots=True)
class PlanItems:
    """What a page of a plan shows; `problem` is why it shows nothing of it."""

    views: Sequence[ItemView] = ()
    deeds: Sequence[Deed] = ()
    changes: Sequence[CountChange] = ()
    total: int = 0
    is_expired: bool = False
    previous: str | None = None
    next: str | None = None
    problem: str | None = None


def page_address(plan_id: UUID, after: int) -> str:
    base = f"/admin/consistency/plans/{plan_id}"
    return f"{base}?{urlencode({'after': after})}" if after >= 0 else base
