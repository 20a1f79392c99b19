"""The filters of lists of media, as addresses and calls give them."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import pytest

from ingest_api.bulk_deletions import DeleteBody, RestoreBody, selection_of_deletion, selection_to_restore
from ingest_api.media_filters import TEXT_MAX_CHARACTERS, MediaFilter, first_id_of, read_filter
from ingest_api.problem_details import InvalidFields
from ingest_api.rerenders import WatermarkBody, selection_of
from ingest_api.sync_request import SyncBody, request_of
from shared.events import StorageStatus
from shared.identifiers import new_id

ALL_ASKED = {
    "q": "harbour",
    "entityType": "product",
    "entityId": "7",
    "status": "failed",
    "storageStatus": "missing",
    "before": "2026-05-31",
    "deleted": "true",
}
ALL_READ = MediaFilter("product", "7", "failed", StorageStatus.MISSING, True, "harbour", date(2026, 5, 31))


def refused(body: Any, read: Any) -> dict[str, str]:
    with pytest.raises(InvalidFields) as refusal:
        read(body)
    return {error.field: error.message for error in refusal.value.errors}


def test_every_filter_is_read_and_written_the_same() -> None:
    assert read_filter(ALL_ASKED) == ALL_READ
    assert ALL_READ.asked() == ALL_ASKED
    assert read_filter({}) == MediaFilter()
    assert MediaFilter().asked() == {}


def test_what_is_empty_or_unknown_asks_for_nothing() -> None:
    assert read_filter({"q": "  ", "status": "", "entityId": None, "cursor": "x", "deleted": "false"}) == MediaFilter()


@pytest.mark.parametrize(
    ("status", "read"), [("waiting", "processing"), ("active", "processing"), ("failed", "failed")]
)
def test_a_medium_whose_job_is_not_done_is_in_processing(status: str, read: str) -> None:
    assert read_filter({"status": status}).status == read


def test_ids_of_a_day_begin_with_its_first_millisecond() -> None:
    assert first_id_of(date(1970, 1, 2)) == UUID(int=86_400_000 << 80)
    assert read_filter({"before": "1970-01-02"}).below == UUID(int=86_400_000 << 80)


@pytest.mark.parametrize(
    "asked",
    [
        {"status": "sunny"},
        {"storageStatus": "x"},
        {"deleted": "yes"},
        {"before": "yesterday"},
        {"before": "1969-12-31"},
        {"q": "a\0b"},
        {"entityId": "x" * (TEXT_MAX_CHARACTERS + 1)},
        {"status": "sunny", "before": "31.05.2026"},
    ],
)
def test_every_wrong_filter_is_named(asked: dict[str, str]) -> None:
    assert set(refused(asked, read_filter)) == set(asked)
    named = refused(asked, lambda values: read_filter(values, within="matching."))
    assert set(named) == {f"matching.{name}" for name in asked}


def test_only_what_never_changes_is_known_of_the_past() -> None:
    assert not MediaFilter(entity_type="product", entity_id="7", before=date(2026, 1, 1), deleted=True).may_change
    for changing in (
        MediaFilter(text="x"),
        MediaFilter(status="failed"),
        MediaFilter(storage_status=StorageStatus.SYNCED),
    ):
        assert changing.may_change


# --- calls that act on all that match ---------------------------------------------------------------------------------


def to_delete(body: dict[str, Any]) -> Any:
    return selection_of_deletion(DeleteBody.model_validate({"matching": body}), is_hard=True)


def to_restore(body: dict[str, Any]) -> Any:
    return selection_to_restore(RestoreBody.model_validate({"matching": body}))


def to_rerender(body: dict[str, Any]) -> Any:
    return selection_of(WatermarkBody.model_validate({"matching": body}))


def to_sync(body: dict[str, Any]) -> Any:
    return request_of(SyncBody.model_validate({"operation": "upload_to_s3", "matching": body}))


CALLS = [to_delete, to_restore, to_rerender, to_sync]


@pytest.mark.parametrize("read", CALLS)
def test_calls_read_filters_as_lists_do(read: Any) -> None:
    asked = {name: value for name, value in ALL_ASKED.items() if name != "deleted"}
    wanted = read_filter(asked | {"deleted": "true" if read is to_restore else "false"})
    assert read(asked).matching == wanted
    assert set(refused({"status": "sunny", "before": "x"}, read)) == {"matching.status", "matching.before"}


@pytest.mark.parametrize("read", CALLS)
def test_everything_is_meant_only_by_who_says_so(read: Any) -> None:
    for empty in ({}, {"q": ""}, {"entityId": " "}, {"everything": None}):
        assert "send everything: true" in refused(empty, read)["matching"]
    assert read({"everything": True}).matching.asked() == ({"deleted": "true"} if read is to_restore else {})
    assert set(refused({"everything": True, "q": "x"}, read)) == {"matching.everything"}


def test_deleted_media_are_deleted_for_good_or_restored_and_nothing_else() -> None:
    assert to_delete({"deleted": True}).matching == MediaFilter(deleted=True)
    assert to_restore({"deleted": True}).matching == MediaFilter(deleted=True)
    assert set(refused({"deleted": False, "q": "x"}, to_restore)) == {"matching.deleted"}
    for read in (to_rerender, to_sync):
        assert set(refused({"deleted": True}, read)) == {"matching.deleted"}
    softly = DeleteBody.model_validate({"matching": {"deleted": True}})
    assert set(refused(softly, lambda body: selection_of_deletion(body, is_hard=False))) == {"matching.deleted"}


@pytest.mark.parametrize(
    ("others", "field"),
    [({"mediaIds": [new_id()]}, "matching"), ({"filter": {"everything": True}}, "matching"), ({}, "mediaIds")],
)
def test_media_are_selected_in_exactly_one_way(others: dict[str, Any], field: str) -> None:
    matching = {"matching": {"everything": True}} if others else {}
    body = WatermarkBody.model_validate({**others, **matching})
    assert set(refused(body, selection_of)) == {field}
