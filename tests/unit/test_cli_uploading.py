"""The parts of an upload: what is found, under which key it is sent, what is remembered, how long is waited."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from deploy.cli.patience import Interrupted, Patience, patiently
from deploy.cli.problems import NotReached, Refused
from deploy.cli.upload_journal import KEPT_SECONDS, UploadJournal
from deploy.cli.upload_plan import FoundFile, found_files, idempotency_key
from deploy.cli.uploading import in_parallel

AT_ONCE = Patience(attempts=3, first_seconds=0)


def refusal(status: int, retry_after: str | None = None) -> Refused:
    return Refused(status, {"title": "No"}, retry_after)


def test_files_are_found_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a.webp", "notes.txt", ".hidden.jpg", ".git/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.webp")
    (tmp_path / "loop").symlink_to(tmp_path)

    def names(*paths: Path, every_type: bool = False) -> list[str]:
        found = found_files(paths, every_type=every_type)
        return [str(one.path.relative_to(tmp_path)) for one in found if isinstance(one, FoundFile)]

    assert names(tmp_path) == ["a.webp", "b/1.JPG", "b/2.png"]
    assert names(tmp_path / "notes.txt", tmp_path / "b", tmp_path) == ["notes.txt", "b/1.JPG", "b/2.png", "a.webp"]
    assert names(tmp_path, every_type=True) == ["a.webp", "notes.txt", "b/1.JPG", "b/2.png"]
    ((gone, error),) = [one for one in found_files([tmp_path / "gone"], every_type=False) if isinstance(one, tuple)]
    assert (gone.name, type(error)) == ("gone", FileNotFoundError)


def test_a_key_tells_what_is_sent_apart() -> None:
    fields = {"entityType": "product", "entityId": "1"}
    keys = {
        idempotency_key("ab", "a.jpg", fields),
        idempotency_key("ac", "a.jpg", fields),
        idempotency_key("ab", "b.jpg", fields),
        idempotency_key("ab", "a.jpg", {"entityType": "product"}),
        idempotency_key("ab", "a.jpg", fields, instead_of="medium"),
    }
    assert len(keys) == 5
    assert idempotency_key("ab", "a.jpg", dict(reversed(fields.items()))) in keys
    assert all(len(key) <= 255 and key.isprintable() for key in keys)


def test_the_journal_is_shared_cut_and_forgets(tmp_path: Path) -> None:
    one, other = (UploadJournal(tmp_path, "http://a", "account") for _ in range(2))
    with one, other:
        one.add("key-1", "job-1", "medium-1")
        other.add("key-2", "job-2", "medium-2")
    (file,) = (tmp_path / "uploads").iterdir()
    lines = file.read_text().splitlines()
    old = json.loads(lines[0]) | {"key": "old", "at": time.time() - KEPT_SECONDS - 1}
    file.write_text("\n".join([json.dumps(old), *lines, *[lines[0]] * 2000, '{"key": "cut']))
    with UploadJournal(tmp_path, "http://a", "account") as journal:
        found = [journal.find(key) for key in ("key-1", "key-2", "old", "cut")]
        journal.add("key-3", "job-3", "medium-3")
    assert [one and one.media_id for one in found] == ["medium-1", "medium-2", None, None]
    assert [json.loads(line)["key"] for line in file.read_text().splitlines()] == ["key-1", "key-2", "key-3"]
    with UploadJournal(tmp_path, "http://b", "account") as elsewhere:
        assert elsewhere.find("key-1") is None


def test_patience_has_an_end() -> None:
    asked = 0

    def refused() -> None:
        nonlocal asked
        asked += 1
        raise refusal(503)

    with pytest.raises(Refused):
        patiently(refused, threading.Event(), AT_ONCE)
    assert asked == 3


@pytest.mark.parametrize("error", [refusal(422), refusal(507), NotReached("who?")])
def test_what_stays_so_is_asked_once(error: Exception) -> None:
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        raise error

    with pytest.raises(type(error)):
        patiently(ask, threading.Event(), AT_ONCE)
    assert asked == 1


def test_nobody_is_waited_for_too_long() -> None:
    patience = Patience()
    waits = [patience.seconds(attempt, None) for attempt in range(1, 20)]
    assert 0.25 <= waits[0] <= 0.5
    assert max(waits) <= patience.longest_seconds
    assert patience.seconds(1, 3) == 3
    assert patience.seconds(1, 86_400) == patience.longest_seconds
    assert refusal(429, "7").retry_after_seconds == 7
    assert refusal(429, "Wed, 21 Oct 2026 07:28:00 GMT").retry_after_seconds is None


def test_a_wait_is_cut_short() -> None:
    stop = threading.Event()

    def away() -> None:
        stop.set()
        raise NotReached("away", may_pass=True)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        patiently(away, stop, Patience(first_seconds=60, longest_seconds=60))
    assert time.monotonic() - began < 30


def test_ctrl_c_ends_with_those_under_way() -> None:
    stop, begun = threading.Event(), []

    def work(item: int) -> int:
        begun.append(item)
        if item > 1:
            assert stop.wait(20), "nobody ended it"
        return item

    results = in_parallel(work, iter(range(1000)), 2, stop)
    assert next(results) in {0, 1}
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert stop.is_set()
    assert len(begun) <= 6, "few are taken up ahead"


@pytest.mark.parametrize("workers", [1, 4])
def test_nothing_is_begun_behind_a_failure_and_it_is_what_is_told(workers: int) -> None:
    stop, begun = threading.Event(), []

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            raise NotReached("away", may_pass=False)
        assert stop.wait(20), "nobody ended it"
        raise Interrupted

    with pytest.raises(NotReached):
        list(in_parallel(work, iter(range(1000)), workers, stop))
    assert len(begun) <= workers
