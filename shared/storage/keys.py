"""Object keys: made by the server from ids and fixed names, never from a client's file name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from shared.storage.errors import InvalidKey

KEY_MAX_BYTES: Final = 1024
COMPONENT_MAX_BYTES: Final = 255
TEMPORARY_PREFIX: Final = ".tmp-"
STAGING_PREFIX: Final = "staging/"
MEDIA_PREFIX: Final = "media/"

_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\ufffe\uffff]")
_VARIANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}")
_MEDIA_KEY: Final = re.compile(
    rf"{MEDIA_PREFIX}(?P<fan_out>[0-9a-f]{{2}})"
    r"/(?P<media_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"/(?P<revision>[1-9][0-9]{0,8})"
    rf"/(?P<variant>{_VARIANT.pattern})\.(?P<extension>{_EXTENSION.pattern})"
)


def validated(key: str) -> str:
    """Return `key` when every store can hold it, else raise InvalidKey.

    A key is 1 to 1024 bytes of UTF-8, relative, made of components of 1 to 255 bytes without `.`, `..`, control
    characters or backslashes. Names that begin with `.tmp-` are kept for unfinished files.
    """
    if not key:
        raise InvalidKey(key, "it is empty")
    if found := _FORBIDDEN.search(key):
        raise InvalidKey(key, f"it holds the character U+{ord(found.group()):04X}")
    if (length := len(key.encode())) > KEY_MAX_BYTES:
        raise InvalidKey(key, f"it has {length} bytes, {KEY_MAX_BYTES} are allowed")
    for component in key.split("/"):
        _check_component(key, component)
    return key


def validated_prefix(prefix: str) -> str:
    """Return `prefix` when it is empty, a key or a key and a slash, else raise InvalidKey.

    Stores refuse to list below `a/.`, even though `a/.b` is a key.
    """
    if prefix:
        validated(prefix.removesuffix("/"))
    return prefix


def _check_component(key: str, component: str) -> None:
    if not component:
        raise InvalidKey(key, "it has an empty component (a leading, trailing or doubled slash)")
    if component in {".", ".."}:
        raise InvalidKey(key, f"it has the component {component!r}")
    if component.startswith(TEMPORARY_PREFIX):
        raise InvalidKey(key, f"names that begin with {TEMPORARY_PREFIX!r} are kept for unfinished files")
    if (length := len(component.encode())) > COMPONENT_MAX_BYTES:
        raise InvalidKey(key, f"a component has {length} bytes, {COMPONENT_MAX_BYTES} are allowed")


def staging_key(upload_id: UUID) -> str:
    """Key of a file between its arrival and its processing. Every upload has an id of its own: none meets another."""
    return f"{STAGING_PREFIX}{upload_id}"


@dataclass(frozen=True, slots=True)
class MediaKey:
    """Where one variant of one media lies.

    `revision` counts from 1 and grows when a media is rendered anew, so the old variants stay readable until the
    new ones are all in place. Equal values give equal keys: doing the work twice leaves one result.
    """

    media_id: UUID
    revision: int
    variant: str
    extension: str

    def __post_init__(self) -> None:
        if not 1 <= self.revision < 10**9:
            raise InvalidKey(str(self.revision), "a revision counts from 1 and has at most 9 digits")
        if not _VARIANT.fullmatch(self.variant):
            raise InvalidKey(self.variant, "a variant's name has 1 to 63 of a-z, 0-9, '-' and '_'")
        if not _EXTENSION.fullmatch(self.extension):
            raise InvalidKey(self.extension, "an extension has 1 to 8 of a-z and 0-9")

    def __str__(self) -> str:
        return f"{media_prefix(self.media_id)}{self.revision}/{self.variant}.{self.extension}"

    @classmethod
    def parse(cls, key: str) -> MediaKey | None:
        """Read a key of this layout; None for any other."""
        if not (found := _MEDIA_KEY.fullmatch(key)):
            return None
        media_key = cls(UUID(found["media_id"]), int(found["revision"]), found["variant"], found["extension"])
        return media_key if str(media_key) == key else None


def media_prefix(media_id: UUID) -> str:
    """Prefix of everything stored of one media.

    The fan-out is the end of the id: the ids are ordered by time, so their beginnings fill one folder after the
    other while their ends spread over 256 of them.
    """
    text = str(media_id)
    return f"{MEDIA_PREFIX}{text[-2:]}/{text}/"


def media_of(key: str) -> UUID | None:
    """The medium in whose folder a key lies; None for any other key."""
    parts = key.split("/", 3)
    if len(parts) < 4 or f"{parts[0]}/" != MEDIA_PREFIX:
        return None
    try:
        media_id = UUID(parts[2])
    except ValueError:
        return None
    return media_id if key.startswith(media_prefix(media_id)) else None
