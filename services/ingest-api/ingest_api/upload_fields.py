"""The text fields of an upload: what they may say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from ingest_api.multipart_upload import ReceivedForm, missing_fields
from ingest_api.problem_details import FieldError, InvalidFields
from shared.events import StorageStrategy

T = TypeVar("T")

ENTITY_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
ENTITY_ID_MAX_CHARACTERS: Final = 200
ALT_MAX_CHARACTERS: Final = 2000
TITLE_MAX_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class UploadFields:
    """What an upload says of itself; `storage_strategy` None leaves it to the settings."""

    entity_type: str
    entity_id: str | None
    alt: str | None
    title: str | None
    storage_strategy: StorageStrategy | None


def read_fields(form: ReceivedForm) -> UploadFields:
    """Raises InvalidFields that names every field which is missing or wrong."""
    errors = missing_fields(form, {"entityType": "say what kind of thing the picture belongs to"})
    texts = form.texts

    def read(name: str, parse: Callable[[str], T]) -> T | None:
        text = texts.get(name)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
            return None

    entity_type = read("entityType", entity_type_of)
    fields = UploadFields(
        entity_type=entity_type or "",
        entity_id=read("entityId", lambda text: plain_text(text, ENTITY_ID_MAX_CHARACTERS)),
        alt=read("alt", lambda text: plain_text(text, ALT_MAX_CHARACTERS)),
        title=read("title", lambda text: plain_text(text, TITLE_MAX_CHARACTERS)),
        storage_strategy=read("storageStrategy", _strategy),
    )
    if errors:
        raise InvalidFields(*errors)
    return fields


def entity_type_of(text: str) -> str:
    """The entity type that a text names; raises ValueError."""
    if not ENTITY_TYPE.fullmatch(text):
        raise ValueError("must begin with a letter and have at most 64 letters, digits, '-' and '_'")
    return text


def plain_text(text: str, most_characters: int) -> str | None:
    """The text without surrounding space, None when nothing is left; raises ValueError."""
    text = unicodedata.normalize("NFC", text).strip()
    if len(text) > most_characters:
        raise ValueError(f"must have at most {most_characters} characters")
    if any(unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t" for c in text):
        raise ValueError("must not have control characters")
    return text or None


def _strategy(text: str) -> StorageStrategy:
    try:
        return StorageStrategy(text)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(StorageStrategy)}") from None
