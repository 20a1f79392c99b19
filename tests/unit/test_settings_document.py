"""What may be written into the settings: tables of fields and values, by function alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ingest_api.problem_details import InvalidFields, Problem
from ingest_api.settings_document import (
    MEDIA_FIELDS,
    differences,
    entity_type_record,
    entity_type_settings,
    media_record,
    patched_media,
    replaced_media,
    require_match,
)
from shared.events import EntityTypeSettings, MediaSettings, StorageStrategy

WITH_S3 = MediaSettings(s3_enabled=True, s3_endpoint="http://127.0.0.1:9000")
WITHOUT_S3 = MediaSettings()
VARIANT = {"name": "card", "width": 320, "format": "webp", "quality": 80}
TEXT_MARK = {"text": "© Example"}


def refused(call: Callable[[], object]) -> dict[str, str]:
    """What is wrong, by field; empty when nothing is."""
    try:
        call()
    except InvalidFields as problem:
        return {error.field: error.message for error in problem.errors}
    return {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("defaultStorageStrategy", "local_only"),
        ("defaultStorageStrategy", "both"),
        ("deleteMode", "hard"),
        ("softDeleteRetentionDays", 1),
        ("softDeleteRetentionDays", 3650),
        ("autoCleanupEnabled", False),
        ("s3Enabled", False),
        ("s3AutoSync", False),
        ("s3DeleteWithLocal", False),
        ("s3Bucket", "my-bucket.2"),
        ("s3Region", "eu-central-1"),
        ("s3Endpoint", "https://s3.example.org"),
        ("s3PublicUrl", "https://cdn.example.org/pictures"),
        ("s3PublicUrl", None),
        ("hybridModeEnabled", True),
        ("hybridPendingBelow", 1),
        ("hybridWaitSeconds", 2.5),
        ("uploadLimitBytes", 10_000_000),
    ],
)
def test_good_values_hold(field: str, value: Any) -> None:
    changed = patched_media(WITH_S3, {field: value}, s3_reachable=True)
    assert media_record(changed)[field] == value
    others = {name: old for name, old in media_record(WITH_S3).items() if name != field}
    assert {name: media_record(changed)[name] for name in others} == others


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("defaultStorageStrategy", "cloud"),
        ("defaultStorageStrategy", None),
        ("deleteMode", "Soft"),
        ("deleteMode", True),
        ("softDeleteRetentionDays", 0),
        ("softDeleteRetentionDays", 3651),
        ("softDeleteRetentionDays", 30.5),
        ("softDeleteRetentionDays", "30"),
        ("autoCleanupEnabled", "false"),
        ("autoCleanupEnabled", 0),
        ("s3AutoSync", None),
        ("s3Bucket", ""),
        ("s3Bucket", "a/b"),
        ("s3Bucket", "../x"),
        ("s3Bucket", "x" * 64),
        ("s3Region", "eu central"),
        ("s3Endpoint", "s3.example.org"),
        ("s3Endpoint", "ftp://s3.example.org"),
        ("s3Endpoint", "http://key:secret@s3.example.org"),
        ("s3Endpoint", "https://s3.example.org/path"),
        ("s3Endpoint", "http://s3.example.org:99999"),
        ("s3Endpoint", "http://s3.example.org:0"),
        ("s3Endpoint", "http://s3.example.org:port"),
        ("s3Endpoint", "http://[::1"),
        ("s3Endpoint", "http://s3.example\u0000.org"),
        ("s3Endpoint", "http://s3 .example.org"),
        ("s3Endpoint", "http://" + "a" * 3000),
        ("s3Endpoint", None),
        ("s3PublicUrl", "https://cdn.example.org/?a=b"),
        ("hybridPendingBelow", 0),
        ("hybridWaitSeconds", 0),
        ("hybridWaitSeconds", 10_000),
        ("uploadLimitBytes", 0),
        ("uploadLimitBytes", 10**12),
        ("uploadLimitBytes", [1]),
        ("s3Status", "connected"),
        ("version", 7),
        ("s3SecretKey", "x"),
        ("s3AccessKey", "x"),
        ("default_storage_strategy", "both"),
        ("", 1),
    ],
)
def test_bad_values_are_refused_by_the_name_the_caller_wrote(field: str, value: Any) -> None:
    errors = refused(lambda: patched_media(WITH_S3, {field: value, "deleteMode2": 1}, s3_reachable=True))
    assert set(errors) == {field, "deleteMode2"}
    assert errors[field]


@pytest.mark.parametrize(
    ("current", "reachable", "changes", "wrong"),
    [
        (WITHOUT_S3, False, {"s3Enabled": True}, {"s3Enabled"}),
        (WITHOUT_S3, False, {"defaultStorageStrategy": "both"}, {"defaultStorageStrategy"}),
        (WITHOUT_S3, False, {"defaultStorageStrategy": "local_first"}, set()),
        (WITH_S3, True, {"s3Enabled": False, "defaultStorageStrategy": "s3_only"}, {"defaultStorageStrategy"}),
        (WITH_S3, True, {"s3Enabled": True, "defaultStorageStrategy": "s3_only"}, set()),
    ],
)
def test_fields_that_contradict_each_other(
    current: MediaSettings, reachable: bool, changes: dict[str, Any], wrong: set[str]
) -> None:
    assert set(refused(lambda: patched_media(current, changes, s3_reachable=reachable))) == wrong


def test_put_names_each_missing_field_once_and_takes_read_only_ones_along() -> None:
    whole = {**media_record(WITH_S3), "s3Status": "connected", "version": 3, "updatedAt": None, "updatedBy": None}
    assert replaced_media(whole, s3_reachable=True) == WITH_S3
    assert set(refused(lambda: replaced_media({}, s3_reachable=True))) == set(MEDIA_FIELDS)
    del whole["s3AutoSync"]
    assert set(refused(lambda: replaced_media(whole, s3_reachable=True))) == {"s3AutoSync"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"variants": [VARIANT]}, set()),
        ({"variants": [VARIANT], "strategy": None, "watermark": None}, set()),
        ({"variants": [VARIANT], "watermark": {**TEXT_MARK, "opacity": 1, "margin": 0, "tiled": True}}, set()),
        ({"variants": [VARIANT], "watermark": {"pictureMediaId": "01890a5d-ac96-774b-bcce-b302099a8057"}}, set()),
        ({}, {"variants"}),
        ({"variants": []}, {"variants"}),
        ({"variants": [VARIANT] * 13}, {"variants"}),
        ({"variants": [VARIANT, VARIANT]}, {"variants"}),
        ({"variants": [{**VARIANT, "name": "../x"}]}, {"variants.0.name"}),
        ({"variants": [{**VARIANT, "name": "original"}]}, {"variants.0.name"}),
        ({"variants": [VARIANT, {**VARIANT, "name": "b", "width": 0}]}, {"variants.1.width"}),
        ({"variants": [{**VARIANT, "width": 16_384}]}, {"variants.0.width"}),
        ({"variants": [{**VARIANT, "format": "gif"}]}, {"variants.0.format"}),
        ({"variants": [{**VARIANT, "quality": 101}]}, {"variants.0.quality"}),
        ({"variants": [{**VARIANT, "height": 5}]}, {"variants.0.height"}),
        ({"variants": [{"name": "x"}]}, {"variants.0.width"}),
        ({"variants": "large"}, {"variants"}),
        ({"variants": [VARIANT], "strategy": "cloud"}, {"strategy"}),
        ({"variants": [VARIANT], "strategy": "both"}, {"strategy"}),
        ({"variants": [VARIANT], "colour": 1}, {"colour"}),
        ({"variants": [VARIANT], "watermark": {"text": "Größe € é Ё № ©"}}, set()),
        ({"variants": [VARIANT], "watermark": {}}, {"watermark.text"}),
        (
            {
                "variants": [VARIANT],
                "watermark": {**TEXT_MARK, "pictureMediaId": "01890a5d-ac96-774b-bcce-b302099a8057"},
            },
            {"watermark.pictureMediaId"},
        ),
        ({"variants": [VARIANT], "watermark": {"text": "a\nb"}}, {"watermark.text"}),
        ({"variants": [VARIANT], "watermark": {"text": ""}}, {"watermark.text"}),
        ({"variants": [VARIANT], "watermark": {"text": "  "}}, {"watermark.text"}),
        ({"variants": [VARIANT], "watermark": {"text": "日本"}}, {"watermark.text"}),
        ({"variants": [VARIANT], "watermark": {**TEXT_MARK, "variants": ["huge"]}}, {"watermark.variants"}),
        ({"variants": [VARIANT], "watermark": {**TEXT_MARK, "position": "middle"}}, {"watermark.position"}),
        ({"variants": [VARIANT], "watermark": {**TEXT_MARK, "opacity": 0}}, {"watermark.opacity"}),
        ({"variants": [VARIANT], "watermark": {**TEXT_MARK, "scale": 1.1}}, {"watermark.scale"}),
        ({"variants": [VARIANT], "watermark": {**TEXT_MARK, "margin": 0.5}}, {"watermark.margin"}),
        ({"variants": [VARIANT], "watermark": {**TEXT_MARK, "angle": 5}}, {"watermark.angle"}),
    ],
)
def test_settings_of_an_entity_type(body: dict[str, Any], wrong: set[str]) -> None:
    assert set(refused(lambda: entity_type_settings(body, s3_enabled=False))) == wrong


def test_letters_without_a_shape_are_named() -> None:
    body = {"variants": [VARIANT], "watermark": {"text": "Foto 日本 本 ©"}}
    assert "'日本'" in refused(lambda: entity_type_settings(body, s3_enabled=False))["watermark.text"]


def test_what_was_read_of_an_entity_type_can_be_put_back() -> None:
    settings = EntityTypeSettings(strategy=StorageStrategy.LOCAL_ONLY)
    body = {"entityType": "product", **entity_type_record(settings), "version": 0, "updatedAt": None, "updatedBy": None}
    assert entity_type_settings(body, s3_enabled=False) == settings


def test_differences_hold_the_changed_fields_alone() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}) == ({"b": 2}, {"b": 3})


@pytest.mark.parametrize(
    ("if_match", "stale"),
    [(None, False), ("*", False), ('"3"', False), ('"1", "3"', False), ('"2"', True), ('W/"3"', True), ("3", True)],
)
def test_if_match(if_match: str | None, stale: bool) -> None:
    if not stale:
        require_match(if_match, 3)
        return
    with pytest.raises(Problem) as refusal:
        require_match(if_match, 3)
    assert (refusal.value.status, refusal.value.headers["ETag"]) == (412, '"3"')
