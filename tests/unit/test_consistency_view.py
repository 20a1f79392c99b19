"""What pages make of comparisons and plans: counts before and after, sums of what happens, and where pictures are."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ingest_api.pages.consistency_view import FileProblem, count_changes, deeds, item_views, product_of, standings
from ingest_api.pages.previews import Previews
from shared.events import RunCounts, RunStatus
from shared.identifiers import new_id

# Fixed: they stand in the names of tests, and every process has to collect the same.
PRODUCT = UUID("01a1ff00-0000-7000-8000-000000000001")
PLAN = UUID("01a1ff00-0000-7000-8000-000000000002")
KEY = f"products/{PRODUCT}/250g/hero-card/a b.jpg"
PREVIEWS = Previews(has_bucket=True)


def entry(product_id: UUID | None, **lists: list[str]) -> dict[str, Any]:
    names = ("orphanedFiles", "missingFiles", "syncedFiles", "errors")
    return {"productId": str(product_id) if product_id else None, **{name: lists.get(name, []) for name in names}}


def test_what_differs_most_comes_first() -> None:
    clean, worse = new_id(), new_id()
    entries = [entry(clean, syncedFiles=["a"]), entry(None, orphanedFiles=["x"]), entry(worse, missingFiles=["b", "c"])]
    found = standings(entries, {clean: "Clean", worse: "Worse"})
    assert [(one.name, one.images, one.differences) for one in found] == [
        ("Worse", 2, 2),
        (None, 0, 1),
        ("Clean", 1, 0),
    ]


def outcome(why: str, files: int, done: int, *, becomes_synced: bool = False) -> dict[str, Any]:
    return {"why": why, "becomesSynced": becomes_synced, "files": files, "done": done}


COUNTS = RunCounts(synced=10, orphaned=5, missing=4, differing=1, errors=1)
FILES = [
    outcome("orphaned_in_bucket", 2, 1),
    outcome("orphaned_on_disk", 1, 1),
    outcome("orphaned_in_bucket", 1, 0, becomes_synced=True),
    outcome("missing_in_bucket", 3, 3, becomes_synced=True),
    outcome("missing_everywhere", 1, 1),
    outcome("content_differs", 1, 1, becomes_synced=True),
    outcome("stale_temporary", 1, 1),
]


@pytest.mark.parametrize(
    ("status", "after"),
    [
        (RunStatus.AWAITING_APPROVAL, [15, 1, 0, 0, 0]),
        (RunStatus.DISCARDED, [15, 1, 0, 0, 0]),
        (RunStatus.COMPLETED, [14, 3, 0, 0, 0]),
    ],
)
def test_counts_become_what_the_plan_makes_of_them(status: RunStatus, after: list[int]) -> None:
    changes = count_changes(COUNTS, FILES, status)
    assert [change.name for change in changes] == ["synced", "orphaned", "missing", "differing", "errors"]
    assert ([change.before for change in changes], [change.after for change in changes]) == ([10, 5, 4, 1, 1], after)


def test_what_was_brought_back_counts_as_before() -> None:
    undone = [outcome("orphaned_in_bucket", 5, 0)]
    assert all(change.after == change.before for change in count_changes(COUNTS, undone, RunStatus.UNDONE))


def test_what_happens_is_summed_up_and_removals_come_first() -> None:
    def group(action: str, place: str, status: str, items: int) -> dict[str, Any]:
        return {
            "action": action,
            "why": "any",
            "place": place,
            "status": status,
            "items": items,
            "sizeBytes": 10 * items,
        }

    groups = [
        group("copy", "disk", "done", 1),
        group("remove", "bucket", "done", 2),
        group("remove", "bucket", "skipped", 3),
        group("remove_record", "bucket", "planned", 4),
    ]
    found = [(deed.what, deed.items, deed.size_bytes, deed.ended, deed.failed) for deed in deeds(groups)]
    assert found == [("remove_bucket", 5, 50, 2, 3), ("remove_record", 4, 40, 0, 0), ("copy_disk", 1, 10, 1, 0)]


@pytest.mark.parametrize(
    ("action", "place", "status", "picture"),
    [
        ("remove", "bucket", "planned", KEY),
        ("remove", "bucket", "done", f"quarantine/{PLAN}/{KEY}"),
        ("remove", "bucket", "undone", KEY),
        ("remove", "disk", "planned", None),
        ("remove", "disk", "done", f"quarantine/{PLAN}/disk/{KEY}"),
        ("remove", "disk", "undone", None),
        ("make_record", "bucket", "planned", KEY),
        ("copy", "bucket", "planned", None),
        ("copy", "bucket", "done", KEY),
        ("copy", "disk", "planned", KEY),
        ("remove_record", "bucket", "planned", None),
        ("discard", "disk", "planned", None),
    ],
)
def test_a_picture_is_shown_where_it_lies_now(action: str, place: str, status: str, picture: str | None) -> None:
    item = {"id": "1", "action": action, "why": "any", "key": KEY, "place": place, "sizeBytes": 1, "status": status}
    (view,) = item_views([item | {"code": None, "detail": None}], PLAN, PREVIEWS, {PRODUCT: "House blend"})
    assert view.picture == (PREVIEWS.of_object(picture) if picture else None)
    assert (view.name, view.folder) == ("a b.jpg", "House blend · 250g · hero-card")


def test_only_pictures_in_known_places_are_shown() -> None:
    assert (
        PREVIEWS.of_object(KEY) == f"/admin/consistency/objects?key=products%2F{PRODUCT}%2F250g%2Fhero-card%2Fa+b.jpg"
    )
    assert [PREVIEWS.of_object(key) for key in ("products/notes.txt", "backups/a.jpg", "products/a.svg")] == [None] * 3
    assert Previews(has_bucket=False).of_object(KEY) is None


@pytest.mark.parametrize("key", ["products/none/a.jpg", f"media/{PRODUCT}/a.jpg", "products", ""])
def test_other_keys_are_of_no_product(key: str) -> None:
    assert product_of(key) is None
    assert product_of(KEY) == PRODUCT


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ("a/b.png: orphaned_on_disk: lies there", FileProblem("a/b.png", "orphaned_on_disk", "lies there")),
        ("a/b: c.png: changed: now: other", FileProblem("a/b: c.png", "changed", "now: other")),
        ("a/b.png: Something else", FileProblem("a/b.png: Something else")),
    ],
)
def test_what_is_wrong_with_a_file_is_told_apart_from_its_key(told: str, problem: FileProblem) -> None:
    assert FileProblem.of(told) == problem
