"""Reports of comparisons: what is too long for one message is kept in parts, and nothing is left out."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from ingest_api.reconciling import add_entries
from reconciler import report
from reconciler.comparison import FileClass, Finding
from reconciler.report import MediaReport, ProductsReport

PRODUCTS = [UUID(int=number) for number in range(3)]
KINDS = [
    FileClass.ORPHANED_IN_BUCKET,
    FileClass.MISSING_IN_BUCKET,
    FileClass.SYNCED,
    FileClass.CONTENT_DIFFERS,
]


def found(names: int) -> ProductsReport:
    """As many files of each kind in every product, the second of which has none."""
    made = ProductsReport(PRODUCTS)
    for product_id in (PRODUCTS[0], PRODUCTS[2]):
        for number in range(names):
            for kind in KINDS:
                made.add(Finding(f'products/{product_id}/{number} "ü".png', kind))
    made.add(Finding("products/readme.txt", FileClass.ORPHANED_IN_BUCKET))
    return made


@pytest.mark.parametrize("names", [1, 7, 50])
def test_parts_put_together_are_the_whole_report(names: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, of_one = found(names).of_all(), found(names).of_product(PRODUCTS[0])
    assert (whole.parts, of_one.parts) == ([], [])
    monkeypatch.setattr(report, "MOST_BYTES", 1000)
    cut, one_cut = found(names).of_all(), found(names).of_product(PRODUCTS[0])
    for parted in (cut, one_cut):
        assert len(json.dumps(parted.body).encode()) <= 1000
        assert all(len(json.dumps(part, ensure_ascii=False).encode()) <= 1000 + 2 for part in parted.parts)
    entries: list[dict[str, object]] = []
    for part in json.loads(json.dumps(cut.parts)):
        add_entries(entries, part)
    assert {**cut.body, "results": entries} == whole.body
    one: list[dict[str, object]] = []
    for part in one_cut.parts:
        add_entries(one, part)
    assert (one or [one_cut.body]) == [of_one.body]


def test_the_answer_about_media_says_when_it_shows_not_all() -> None:
    made = MediaReport()
    for number in range(MediaReport.MOST_KEYS):
        made.add(Finding(f"media/{number}", FileClass.ORPHANED_IN_BUCKET))
        made.add(Finding(f"media/{number}", FileClass.SYNCED))
    assert "truncated" not in made.report().body
    made.add(Finding("media/one more", FileClass.ORPHANED_IN_BUCKET))
    body = made.report().body
    assert (body["truncated"], body["counts"]["orphaned_in_bucket"]) == (True, MediaReport.MOST_KEYS + 1)
