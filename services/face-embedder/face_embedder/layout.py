"""Where the photos of an event lie in the bucket; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from shared.storage.errors import InvalidKey
from shared.storage.keys import validated

PREVIEW_ENDING: Final = ".jpg"
_KEY: Final = re.compile(r"events/(?P<number>[1-9][0-9]{0,17})/(?P<folder>previews|originals)/(?P<name>[^/]+)")


class Folder(StrEnum):
    """Previews are what is looked at; originals are what people get."""

    PREVIEWS = "previews"
    ORIGINALS = "originals"


@dataclass(frozen=True, slots=True)
class PhotoKey:
    """The key of a file that lies directly in one of the two folders of an event."""

    number: int
    folder: Folder
    name: str

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """None for what is no photo's key: in a folder below, beside the folders, or no key at all."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        try:
            validated(key)
        except InvalidKey:
            return None
        return cls(int(found["number"]), Folder(found["folder"]), found["name"])

    def __str__(self) -> str:
        return f"{prefix_of(self.number, self.folder)}{self.name}"

    @property
    def stem(self) -> str:
        return stem_of(self.name)

    @property
    def made_preview(self) -> str:
        """Where the preview goes that is made of this original."""
        return f"{prefix_of(self.number, Folder.PREVIEWS)}{self.stem}{PREVIEW_ENDING}"


def prefix_of(number: int, folder: Folder) -> str:
    return f"events/{number}/{folder}/"


def stem_of(name: str) -> str:
    """A file name without its ending: what a preview and its original have in common."""
    return name.rpartition(".")[0] or name


def listed_prefix(number: int, s3_prefix: str, folder: Folder) -> str | None:
    """What to list of a folder for the prefix that was asked for; None for one outside of the event's previews."""
    previews = prefix_of(number, Folder.PREVIEWS)
    begin = s3_prefix.removeprefix(previews)
    if not s3_prefix.startswith(previews) or "/" in begin or ".." in begin:
        return None
    return prefix_of(number, folder) + begin
