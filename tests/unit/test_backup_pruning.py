"""Which backups are removed, and which stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.backup.manifest import SUMMARY, Summary
from deploy.backup.taking import CONTENTS, prune, whole_backups

FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def backups_in(folder: Path, count: int) -> list[str]:
    """Empty ones, the oldest first."""
    (folder / CONTENTS).mkdir()
    for day in range(count):
        at = FIRST + timedelta(days=day)
        summary = Summary(
            began_at=at,
            records_of=at,
            ended_at=at,
            has_contents=True,
            bucket=None,
            schemas=(),
            bucket_files=0,
            bucket_bytes=0,
            disk_files=0,
            disk_bytes=0,
            gone_meanwhile=0,
        )
        backup = folder / at.strftime("%Y%m%dT%H%M%S.%fZ")
        backup.mkdir()
        (backup / SUMMARY).write_text(summary.model_dump_json())
    return [path.name for path in whole_backups(folder)]


@pytest.mark.parametrize(("keep", "stay"), [(1, 1), (4, 4), (5, 5), (7, 5), (100, 5)])
def test_the_newest_stay_and_no_more_go_than_there_are_to_spare(tmp_path: Path, keep: int, stay: int) -> None:
    names = backups_in(tmp_path, 5)
    assert len(names) == 5
    assert prune(tmp_path, keep) == (5 - stay, 0)
    assert [path.name for path in whole_backups(tmp_path)] == names[5 - stay :]


def test_what_a_killed_backup_left_behind_goes(tmp_path: Path) -> None:
    names = backups_in(tmp_path, 1)
    left = tmp_path / ".tmp-20261102T000000.000000Z"
    left.mkdir()
    (left / "ingest.dump").write_text("half")
    assert prune(tmp_path, 1) == (0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, CONTENTS]
