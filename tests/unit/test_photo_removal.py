"""Which files a deleted photo takes with it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest_api.photo_removal import NOTHING, AskedFile, PhotoFiles, Removal
from shared.identifiers import new_id
from shared.storage.object_store import ObjectInfo

FOLDER = "events/7/"
PREVIEW, ORIGINAL = f"{FOLDER}previews/a.jpg", f"{FOLDER}originals/a.jpg"


def found(key: str, etag: str, sha256: str | None = None) -> ObjectInfo:
    return ObjectInfo(key, 1, etag, datetime(2030, 1, 1, tzinfo=UTC), sha256)


@pytest.mark.parametrize(
    ("asked", "there", "goes"),
    [
        (AskedFile(PREVIEW, "old"), found(PREVIEW, "old"), True),
        (AskedFile(PREVIEW, "old"), found(PREVIEW, "new"), False),
        (AskedFile(PREVIEW, "old"), found(PREVIEW, "new", "0" * 64), False),
        # Of removals that were asked for while nobody knew what lay there.
        (AskedFile(ORIGINAL, None), found(ORIGINAL, "new"), True),
        # A preview that was made of the original meanwhile, and what a tool has put there.
        (AskedFile(PREVIEW, NOTHING), found(PREVIEW, "new", "0" * 64), True),
        (AskedFile(PREVIEW, NOTHING), found(PREVIEW, "new"), False),
        (AskedFile(ORIGINAL, NOTHING), found(ORIGINAL, "new", "0" * 64), False),
    ],
)
def test_only_what_lay_there_goes(asked: AskedFile, there: ObjectInfo, goes: bool) -> None:
    assert asked.is_it(there) is goes


def test_what_the_bucket_says_counts_before_what_was_told() -> None:
    photo_id, event_id = new_id(), new_id()
    known = PhotoFiles(PREVIEW, ORIGINAL, "told", "told")

    def asked(known: PhotoFiles, seen: dict[str, str | None]) -> list[tuple[str, str | None]]:
        removal = Removal.of(photo_id, event_id, FOLDER, known, seen)
        return [(file.key, file.etag) for file in removal.files]

    assert asked(known, {PREVIEW: "seen", ORIGINAL: None}) == [(ORIGINAL, NOTHING), (PREVIEW, "seen")]
    assert asked(known, {}) == [(ORIGINAL, "told"), (PREVIEW, "told")]
    assert asked(PhotoFiles(PREVIEW, None, None, None), {}) == [(PREVIEW, None)]
    assert asked(PhotoFiles(PREVIEW, "events/77/originals/a.jpg", None, None), {}) == [(PREVIEW, None)]
