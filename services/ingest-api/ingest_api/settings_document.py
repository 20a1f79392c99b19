"""What callers may write into the settings: pure checks that name each field as the caller wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ingest_api.field_faults import WHOLE, from_pydantic
from ingest_api.problem_details import FieldError, InvalidFields, Problem
from shared.events import EntityTypeSettings, MediaSettings, StorageStrategy, WatermarkSettings
from shared.events.settings import WrongField
from shared.mark_font import undrawable

M = TypeVar("M", bound=BaseModel)

READ_ONLY_FIELDS: Final = frozenset({"s3Status", "version", "updatedAt", "updatedBy"})
"""Answers tell them; a whole document may bring them along unread, a change of one is refused."""

NEEDS_BUCKET: Final = frozenset({StorageStrategy.S3_ONLY, StorageStrategy.BOTH})

_CREDENTIAL: Final = re.compile(r"secret|access_?-?key|password|credential|token", re.IGNORECASE)
_CREDENTIAL_REFUSAL: Final = "credentials come from the environment of the services, never through this API"
_S3_OFF: Final = "needs s3Enabled"

MEDIA_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {str(field.alias): name for name, field in MediaSettings.model_fields.items()}
)
"""What callers may set, to the name in the document."""

ENTITY_TYPE_FIELDS: Final = frozenset({"variants", "strategy", "watermark"})


def replaced_media(body: Mapping[str, Any], *, s3_reachable: bool) -> MediaSettings:
    """The settings that a whole document asks for; raises InvalidFields.

    `s3_reachable` tells whether the services have an endpoint and credentials at all.
    """
    errors = _unknown(body, {*MEDIA_FIELDS, *READ_ONLY_FIELDS})
    errors += [FieldError(name, "is missing: PUT replaces the whole") for name in MEDIA_FIELDS if name not in body]
    return _media({name: body[name] for name in MEDIA_FIELDS if name in body}, errors, s3_reachable)


def patched_media(current: MediaSettings, body: Mapping[str, Any], *, s3_reachable: bool) -> MediaSettings:
    """The settings with the named fields changed; raises InvalidFields."""
    errors = [FieldError(name, "is read only") for name in body if name in READ_ONLY_FIELDS]
    errors += _unknown(body, {*MEDIA_FIELDS, *READ_ONLY_FIELDS})
    changed = {name: value for name, value in body.items() if name in MEDIA_FIELDS}
    return _media({**media_record(current), **changed}, errors, s3_reachable)


def entity_type_settings(body: Mapping[str, Any], *, s3_enabled: bool) -> EntityTypeSettings:
    """The settings of an entity type that a whole document asks for; raises InvalidFields.

    `strategy` and `watermark` may be absent; `variants` may not.
    """
    errors = _unknown(body, {*ENTITY_TYPE_FIELDS, *READ_ONLY_FIELDS, "entityType"})
    if "variants" not in body:
        errors.append(FieldError("variants", "is missing: say which sizes are made"))
    errors += _unknown_below(body)
    settings = _read(EntityTypeSettings, {name: body[name] for name in ENTITY_TYPE_FIELDS if name in body}, errors)
    if settings is not None and settings.strategy in NEEDS_BUCKET and not s3_enabled:
        errors.append(FieldError("strategy", f"{settings.strategy} {_S3_OFF}"))
    if settings is not None and settings.watermark is not None:
        errors += _undrawable(settings.watermark)
    if settings is None or errors:
        raise InvalidFields(*_once(errors))
    return settings


def media_record(settings: MediaSettings) -> dict[str, Any]:
    """The settings as callers read them."""
    return settings.model_dump(mode="json", by_alias=True)


def entity_type_record(settings: EntityTypeSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", by_alias=True)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields in which two documents differ, as they were and as they are."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def etag(version: int) -> str:
    return f'"{version}"'


def require_match(if_match: str | None, version: int) -> None:
    """Raises Problem 412 when the caller saw another version than the present one; silence matches all."""
    if if_match is None or if_match.strip() == "*":
        return
    # Compared as strong validators (RFC 9110): a weak one never matches.
    if etag(version) not in [seen.strip() for seen in if_match.split(",")]:
        detail = f"Somebody else changed this meanwhile: it is version {version} now. Read it again, then change it."
        raise Problem(412, "precondition_failed", detail, {"ETag": etag(version)})


def _media(values: Mapping[str, Any], errors: list[FieldError], s3_reachable: bool) -> MediaSettings:
    settings = _read(MediaSettings, values, errors)
    if settings is not None:
        errors += _contradictions(settings, s3_reachable)
    if settings is None or errors:
        raise InvalidFields(*_once(errors))
    return settings


def _contradictions(settings: MediaSettings, s3_reachable: bool) -> Iterable[FieldError]:
    if settings.s3_enabled and not s3_reachable:
        yield FieldError("s3Enabled", "needs MEDIABUS_S3_ENDPOINT and its keys in the environment of the services")
    if s3_reachable and settings.s3_endpoint is None:
        yield FieldError("s3Endpoint", "must be an address: switch S3 off with s3Enabled")
    if settings.default_storage_strategy in NEEDS_BUCKET and not settings.s3_enabled:
        yield FieldError("defaultStorageStrategy", f"{settings.default_storage_strategy} {_S3_OFF}")


def _undrawable(watermark: WatermarkSettings) -> Iterator[FieldError]:
    if watermark.text is not None and not watermark.text.strip():
        yield FieldError("watermark.text", "has nothing to see in it")
    if missing := undrawable(watermark.text or ""):
        detail = f"holds {missing!r}, which the font has no shape for: it knows Latin, Greek and Cyrillic letters"
        yield FieldError("watermark.text", detail)


def _read(model: type[M], values: Mapping[str, Any], errors: list[FieldError]) -> M | None:
    """None, and what is wrong among the errors, where the values don't fit."""
    try:
        # Strict in JSON's own types: "true" is no truth value and 30.5 no whole number.
        return model.model_validate_json(json.dumps(values), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        found_errors = error.errors(include_url=False, include_input=False)
        errors.extend(from_pydantic(found, _field_of(found)) for found in found_errors)
        return None


def _field_of(found: ErrorDetails) -> str:
    """The field as its caller wrote it; where several were looked at together, the one that is to blame."""
    path = [*map(str, found["loc"])]
    if isinstance(cause := found.get("ctx", {}).get("error"), WrongField):
        path.append(cause.field)
    return ".".join(path) or WHOLE


def _unknown(body: Mapping[str, Any], known: Iterable[str], at: str = "") -> list[FieldError]:
    known = frozenset(known)
    return [
        FieldError(f"{at}{name}", _CREDENTIAL_REFUSAL if _CREDENTIAL.search(name) else "is no setting")
        for name in body
        if name not in known
    ]


def _unknown_below(body: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    variants = body.get("variants")
    for position, variant in enumerate(variants if isinstance(variants, list) else []):
        if isinstance(variant, dict):
            errors += _unknown(variant, {"name", "width", "format", "quality"}, f"variants.{position}.")
    if isinstance(watermark := body.get("watermark"), dict):
        known = {"text", "pictureMediaId", "position", "opacity", "scale", "margin", "tiled", "variants"}
        errors += _unknown(watermark, known, "watermark.")
    return errors


def _once(errors: Iterable[FieldError]) -> Iterable[FieldError]:
    """One error a field, the first; none for a whole whose parts are named: it counts as too short then as well."""
    by_field = {error.field: error for error in reversed(list(errors))}
    return [error for field, error in by_field.items() if not any(other.startswith(f"{field}.") for other in by_field)]
