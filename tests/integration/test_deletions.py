"""Deleting and restoring over HTTP on a real PostgreSQL: what is hidden, what is refused, who wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ingest_api.accounts import Role
from ingest_api.repositories.media_deletions import MediaDeletionRepository
from shared.events import (
    Event,
    FileOfMedium,
    FilePlace,
    ImageDiscardedV1,
    ImageMediaForgottenV1,
    MediaDeletedV1,
    MediaDeletionBegunV1,
    MediaDeletionCompletedV1,
    MediaFilesRemovedV1,
    MediaPurgeTakenV1,
    MediaRemovalDelayedV1,
    MediaRestoredV1,
    MediumToPurge,
    ProcessImageV1,
    PurgeMediaV1,
    ReconcileMediaForgottenV1,
    RemoveMediaFilesV1,
)
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase
from tests.ingest_site import PICTURE, UPLOADS, IngestSite, running_site
from tests.outcomes import processed

pytestmark = pytest.mark.stack


@pytest.fixture
async def site(database: TestDatabase, tmp_path: Path) -> AsyncIterator[IngestSite]:
    async with running_site(database, tmp_path / "media", mass_delete_confirm_above=2) as running:
        yield running


async def told(site: IngestSite, event_type: type[Event]) -> list[Any]:
    """What was published of a type, in order."""
    topic = event_type.topic.name
    rows = await site.rows.fetch("SELECT payload, headers FROM outbox WHERE topic = $1 ORDER BY id", topic)
    return [
        event_type.model_validate_json(row["payload"]) for row in rows if event_type.event_type in str(row["headers"])
    ]


async def uploaded(site: IngestSite, **fields: Any) -> ProcessImageV1:
    """The command of an upload that nobody has rendered yet."""
    accepted = await site.uploaded(**fields)
    [command] = [one for one in await told(site, ProcessImageV1) if str(one.job_id) == accepted["jobId"]]
    assert isinstance(command, ProcessImageV1)
    return command


async def stored(site: IngestSite, **fields: Any) -> ProcessImageV1:
    command = await uploaded(site, **fields)
    await site.handlers.deliver(processed(command, original=PICTURE))
    return command


async def delete(site: IngestSite, media_id: UUID, *, hard: bool) -> dict[str, Any]:
    answer = await site.api.delete(f"{UPLOADS}/{media_id}", params={"hard": hard})
    assert answer.status_code == (202 if hard else 200), answer.text
    deleted: dict[str, Any] = answer.json()
    return deleted


async def read_deletion(site: IngestSite, deletion_id: object) -> dict[str, Any]:
    answer = await site.api.get(f"{UPLOADS}/deletions/{deletion_id}")
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def forgotten(begun: MediaDeletionBegunV1, records: int = 1) -> list[Event]:
    facts = {"deletion_id": begun.deletion_id, "media_id": begun.media_id, "records": records}
    now = datetime.now(UTC)
    return [ImageMediaForgottenV1(**facts, forgotten_at=now), ReconcileMediaForgottenV1(**facts, forgotten_at=now)]


def files_gone(begun: MediaDeletionBegunV1, *files: FileOfMedium) -> MediaFilesRemovedV1:
    return MediaFilesRemovedV1(
        deletion_id=begun.deletion_id,
        media_id=begun.media_id,
        removed=files,
        removed_files=len(files),
        removed_bytes=sum(file.size_bytes for file in files),
        kept=(),
        kept_files=0,
        kept_bytes=0,
        records=2,
        removed_at=datetime.now(UTC),
    )


async def given_up(site: IngestSite, event_type: type[Event], media_id: UUID, state: str = "open") -> UUID:
    """A dead letter of image-processor about a medium; its id."""
    letter_id = new_id()
    await site.rows.execute(
        'INSERT INTO dead_letters (id, service, state, topic, partition, "offset", key, type, code, detail, attempts,'
        " dead_lettered_at, headers, payload)"
        " VALUES ($1, 'image-processor', $2, 't', 0, 0, $3, $4, '', '', 1, now(), '{}', '')",
        letter_id,
        state,
        str(media_id),
        event_type.event_type,
    )
    return letter_id


async def deliver(site: IngestSite, events: Sequence[Event]) -> None:
    for event in events:
        await site.handlers.deliver(event)


async def test_what_is_deleted_softly_is_hidden_until_it_is_restored(site: IngestSite) -> None:
    command = await stored(site)
    media_id = command.media_id
    address = f"{UPLOADS}/{media_id}"
    assert (await site.job(str(command.job_id)))["result"] is not None
    deleted = await delete(site, media_id, hard=False)
    assert await delete(site, media_id, hard=False) == deleted, "deleted twice it is deleted once"
    assert (await site.api.get(address)).status_code == 404
    assert (await site.api.patch(address, json={"alt": "x"})).status_code == 404
    assert (await site.api.get(UPLOADS)).json()["media"] == []
    assert (await site.job(str(command.job_id)))["result"] is None
    [listed] = (await site.api.get(UPLOADS, params={"deleted": True})).json()["media"]
    assert listed == (await site.api.get(address, params={"deleted": True})).json()
    assert listed["deletedAt"] == deleted["deletedAt"]
    retried = await site.api.post(f"{UPLOADS}/watermark", json={"mediaIds": [str(media_id)]})
    assert retried.status_code == 202
    while await site.rerendering.plan_page():
        pass
    [child] = (await site.job(retried.json()["jobId"]))["children"]
    assert child["error"]["code"] == "medium_deleted"

    restored = await site.api.post(f"{address}/restore")
    assert (restored.status_code, restored.json()["deletedAt"]) == (200, None)
    assert (await site.api.get(address, params={"deleted": True})).status_code == 404
    assert (await site.job(str(command.job_id)))["result"] is not None
    again = await site.api.post(f"{address}/restore")
    assert (again.status_code, again.json()["code"]) == (409, "not_deleted")

    [fact] = await told(site, MediaDeletedV1)
    assert (fact.version, fact.files, fact.deleted_by) == (1, 3, site.user_id)
    assert fact.size_bytes == len(PICTURE) + len(b"six hundred and forty") + len(b"two hundred")
    [back] = await told(site, MediaRestoredV1)
    assert (back.version, back.restored_by) == (2, site.user_id)


async def test_the_timeline_tells_what_happened_and_who_did_it(site: IngestSite) -> None:
    command = await stored(site)
    address = f"{UPLOADS}/{command.media_id}"
    await delete(site, command.media_id, hard=False)
    await site.api.post(f"{address}/restore")
    await delete(site, command.media_id, hard=False)
    assert (await site.api.get(f"{address}/timeline")).status_code == 404
    answer = await site.api.get(f"{address}/timeline", params={"deleted": True})
    entries = answer.json()["entries"]
    assert [one["what"] for one in entries] == ["deleted", "restored", "deleted", "rendered", "uploaded"]
    me, job = str(site.user_id), str(command.job_id)
    assert [(one["by"], one["jobId"]) for one in entries] == [
        (me, None),
        (me, None),
        (me, None),
        (None, job),
        (me, None),
    ]
    assert (await site.api.get(f"{UPLOADS}/{new_id()}/timeline")).status_code == 404


async def test_unknown_media_and_deletions_are_not_found(site: IngestSite) -> None:
    unknown = f"{UPLOADS}/{new_id()}"
    for answer in (
        await site.api.delete(unknown),
        await site.api.delete(unknown, params={"hard": True}),
        await site.api.post(f"{unknown}/restore"),
        await site.api.get(f"{UPLOADS}/deletions/{new_id()}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await site.api.delete(unknown, params={"hard": "perhaps"})).status_code == 422


async def test_a_deletion_for_good_waits_for_everybody_and_ends_as_a_receipt(site: IngestSite) -> None:
    command = await stored(site)
    await delete(site, command.media_id, hard=False)
    deletion_id = (await delete(site, command.media_id, hard=True))["deletionId"]
    assert (await delete(site, command.media_id, hard=True))["deletionId"] == deletion_id
    for params in ({}, {"deleted": True}):
        assert (await site.api.get(f"{UPLOADS}/{command.media_id}", params=params)).status_code == 404
        assert (await site.api.get(UPLOADS, params=params)).json()["media"] == []
    for refused in (
        await site.api.post(f"{UPLOADS}/{command.media_id}/restore"),
        await site.api.delete(f"{UPLOADS}/{command.media_id}", params={"hard": False}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "deletion_begun")
        assert refused.json()["deletionId"] == deletion_id

    [begun] = await told(site, MediaDeletionBegunV1)
    assert (str(begun.deletion_id), begun.version, begun.keeps_bucket) == (deletion_id, 2, False)
    await given_up(site, ProcessImageV1, command.media_id, state="replayed")
    letter_id = await given_up(site, ProcessImageV1, command.media_id)
    await given_up(site, ImageDiscardedV1, command.media_id)
    by_image_processor, by_reconciler = forgotten(begun)
    assert await told(site, RemoveMediaFilesV1) == []
    await site.handlers.deliver(by_image_processor)
    [removal] = await told(site, RemoveMediaFilesV1)
    assert removal.keys == tuple(sorted(file.key for file in _files(command)))
    delay = MediaRemovalDelayedV1(
        deletion_id=begun.deletion_id,
        media_id=begun.media_id,
        place=FilePlace.BUCKET,
        code="store_away",
        detail="no answer",
        attempts=1,
        next_attempt_at=datetime.now(UTC),
        delayed_at=datetime.now(UTC),
    )
    await site.handlers.deliver(delay)
    waits = (await read_deletion(site, deletion_id))["waitsFor"]
    assert [(one["service"], (one["because"] or {}).get("code")) for one in waits] == [
        ("reconciler", None),
        ("s3-syncer", "store_away"),
    ]
    file = FileOfMedium(place=FilePlace.DISK, key=removal.keys[0], size_bytes=7)
    await deliver(site, [files_gone(begun, file), *forgotten(begun, records=0), by_reconciler])
    record = await read_deletion(site, deletion_id)
    assert (record["status"], record["waitsFor"]) == ("completed", [])
    assert record["receipt"]["removed"] == {
        "files": 1,
        "bytes": 7,
        "list": [{"place": "disk", "key": file.key, "sizeBytes": 7}],
    }
    assert record["receipt"]["records"]["image-processor"] == 1, "the first answer counts what there was"
    assert (await site.count("media"), await site.count("jobs")) == (0, 0)
    [letter] = await site.rows.fetch("SELECT type FROM dead_letters")
    assert letter["type"] == ImageDiscardedV1.event_type, (
        "a replay of it may still remove a file; names are in no letter"
    )
    [mark] = await site.rows.fetch("SELECT key FROM outbox WHERE topic = 'image-processor.dead-letter'")
    assert mark["key"] == str(letter_id), "it goes from the topic, too"
    [completed] = await told(site, MediaDeletionCompletedV1)
    assert (completed.version, completed.removed_files, completed.removed_bytes) == (3, 1, 7)
    [notice] = await site.rows.fetch("SELECT type, uploader, job_id FROM notices")
    assert tuple(notice) == ("media:deleted", site.user_id, begun.deletion_id)
    assert (await site.api.delete(f"{UPLOADS}/{command.media_id}", params={"hard": True})).status_code == 404
    # what comes later adds to the receipt and changes nothing else
    late = FileOfMedium(place=FilePlace.BUCKET, key=removal.keys[0], size_bytes=7)
    await deliver(site, [files_gone(begun, file, late), processed(command, original=PICTURE)])
    assert (await read_deletion(site, deletion_id))["receipt"]["removed"]["files"] == 2
    assert await site.count("media") == 0
    assert len(await told(site, MediaDeletionCompletedV1)) == 1


def _files(command: ProcessImageV1) -> list[Any]:
    event = processed(command, original=PICTURE)
    return [event.original, *event.variants]


@pytest.mark.parametrize("ends_as", ["discarded", "processed"])
async def test_files_are_removed_once_the_last_rendering_has_ended(site: IngestSite, ends_as: str) -> None:
    command = await uploaded(site)
    deletion_id = (await delete(site, command.media_id, hard=True))["deletionId"]
    [begun] = await told(site, MediaDeletionBegunV1)
    await deliver(site, forgotten(begun))
    assert await told(site, RemoveMediaFilesV1) == []
    [waiting] = [
        one for one in (await read_deletion(site, deletion_id))["waitsFor"] if one["service"] == "image-processor"
    ]
    assert waiting["because"]["code"] == "renderings_open"
    discarded = ImageDiscardedV1(
        job_id=command.job_id, media_id=command.media_id, revision=1, discarded_at=datetime.now(UTC)
    )
    await site.handlers.deliver(discarded if ends_as == "discarded" else processed(command))
    [removal] = await told(site, RemoveMediaFilesV1)
    assert (removal.staging_keys == (command.staging_key,)) == (ends_as == "discarded")
    await site.handlers.deliver(files_gone(begun))
    assert (await read_deletion(site, deletion_id))["status"] == "completed"


async def test_answers_to_many_deletions_at_once_end_each_of_them_once(site: IngestSite) -> None:
    for _ in range(6):
        await delete(site, (await stored(site)).media_id, hard=True)
    waiting = await uploaded(site)
    await delete(site, waiting.media_id, hard=True)
    begun = await told(site, MediaDeletionBegunV1)
    answers = [answer for one in begun for answer in forgotten(one)]
    await asyncio.gather(*(site.handlers.deliver(answer) for answer in [*answers, *answers]))
    removals = await told(site, RemoveMediaFilesV1)
    assert {one.media_id for one in removals} == {one.media_id for one in begun} - {waiting.media_id}
    assert len(removals) == 6
    assert all(len(one.keys) == 3 for one in removals), "each with its own files"
    gone = [files_gone(one, FileOfMedium(place=FilePlace.DISK, key=str(one.media_id), size_bytes=7)) for one in begun]
    await asyncio.gather(*(site.handlers.deliver(answer) for answer in gone[:6] for _ in range(2)))
    completed = await told(site, MediaDeletionCompletedV1)
    assert sorted(one.deletion_id for one in completed) == sorted(one.deletion_id for one in begun[:6])
    assert (await site.count("media"), await site.count("jobs")) == (1, 1)
    assert await site.rows.fetchval("SELECT count(DISTINCT job_id) FROM notices WHERE type = 'media:deleted'") == 6
    for one in begun[:6]:
        record = await read_deletion(site, one.deletion_id)
        assert (record["status"], record["receipt"]["removed"]["files"]) == ("completed", 1)
        assert record["receipt"]["removed"]["list"][0]["key"] == str(one.media_id)
        # medium and job, beside the notice of its rendering
        assert record["receipt"]["records"] == {"image-processor": 1, "ingest-api": 3, "reconciler": 1, "s3-syncer": 2}


async def test_who_does_not_answer_is_asked_again(site: IngestSite) -> None:
    command = await stored(site)
    await delete(site, command.media_id, hard=True)
    await site.deletions.ask_again()
    assert len(await told(site, MediaDeletionBegunV1)) == 1, "not before its time"
    await site.rows.execute("UPDATE media_deletions SET ask_at = now()")
    await site.deletions.ask_again()
    [begun, again] = await told(site, MediaDeletionBegunV1)
    assert again == begun
    await deliver(site, forgotten(begun))
    await site.rows.execute("UPDATE media_deletions SET ask_at = now()")
    await site.deletions.ask_again()
    assert len(await told(site, MediaDeletionBegunV1)) == 2, "nobody owes an answer to it any more"
    [first, second] = await told(site, RemoveMediaFilesV1)
    assert first.keys == second.keys != ()


async def test_a_purge_takes_what_is_deleted_since_that_moment_and_leaves_what_lives(site: IngestSite) -> None:
    due, restored, deleted_anew, alive, going = [(await stored(site)).media_id for _ in range(5)]
    moments: dict[UUID, datetime] = {}
    for media_id in (due, restored, deleted_anew, going):
        moments[media_id] = datetime.fromisoformat((await delete(site, media_id, hard=False))["deletedAt"])
    for media_id in (restored, deleted_anew):
        assert (await site.api.post(f"{UPLOADS}/{media_id}/restore")).status_code == 200
    await delete(site, deleted_anew, hard=False)
    await delete(site, going, hard=True)
    command = PurgeMediaV1(
        purge_id=new_id(),
        run_id=new_id(),
        media=tuple(
            MediumToPurge(media_id=media_id, deleted_at=moments.get(media_id, datetime.now(UTC)))
            for media_id in (going, alive, deleted_anew, restored, due)
        ),
        requested_at=datetime.now(UTC),
    )
    await site.handlers.deliver(command)
    [taken] = await told(site, MediaPurgeTakenV1)
    assert (taken.purge_id, taken.run_id, taken.begun) == (command.purge_id, command.run_id, (due,))
    assert set(taken.passed_over) == {restored, deleted_anew, alive, going}
    [begun] = [one for one in await told(site, MediaDeletionBegunV1) if one.media_id == due]
    assert (begun.purge_id, begun.reason, begun.begun_by) == (command.purge_id, "retention", None)
    for media_id in (restored, alive):
        assert (await site.api.get(f"{UPLOADS}/{media_id}")).status_code == 200
    assert (await site.api.get(f"{UPLOADS}/{deleted_anew}", params={"deleted": True})).status_code == 200


async def test_of_a_purge_and_a_restoration_at_once_one_wins(site: IngestSite) -> None:
    for _ in range(5):
        media_id = (await stored(site)).media_id
        moment = datetime.fromisoformat((await delete(site, media_id, hard=False))["deletedAt"])
        purge = PurgeMediaV1(
            purge_id=new_id(),
            run_id=new_id(),
            media=(MediumToPurge(media_id=media_id, deleted_at=moment),),
            requested_at=datetime.now(UTC),
        )
        restored, _ = await asyncio.gather(site.api.post(f"{UPLOADS}/{media_id}/restore"), site.handlers.deliver(purge))
        taken = (await told(site, MediaPurgeTakenV1))[-1]
        lives = (await site.api.get(f"{UPLOADS}/{media_id}")).status_code == 200
        assert (restored.status_code, lives, taken.begun) in {(200, True, ()), (409, False, (media_id,))}


async def test_files_that_are_gone_are_not_restored(site: IngestSite) -> None:
    media_id = (await stored(site)).media_id
    await delete(site, media_id, hard=False)
    await site.rows.execute("UPDATE media SET on_disk = false, in_bucket = false")
    answer = await site.api.post(f"{UPLOADS}/{media_id}/restore")
    assert (answer.status_code, answer.json()["code"]) == (409, "files_gone")


async def test_the_settings_decide_what_a_call_leaves_open(site: IngestSite) -> None:
    media_id = (await stored(site)).media_id
    changes = {"deleteMode": "hard", "s3DeleteWithLocal": False}
    assert (await site.api.patch(f"{UPLOADS}/settings", json=changes)).status_code == 200
    answer = await site.api.delete(f"{UPLOADS}/{media_id}")
    assert (answer.status_code, answer.json()["mode"]) == (202, "hard")
    [begun] = await told(site, MediaDeletionBegunV1)
    assert begun.keeps_bucket


async def test_many_at_once_have_to_be_confirmed_by_their_number(site: IngestSite) -> None:
    ids = [str((await stored(site, entityId="a")).media_id) for _ in range(3)]
    selections: list[dict[str, Any]] = [{"mediaIds": ids}, {"filter": {"entityId": "a"}}]
    for selection in selections:
        for confirm in ({}, {"confirm": 2}):
            answer = await site.api.post(f"{UPLOADS}/delete", json={**selection, **confirm, "hard": False})
            assert (answer.status_code, answer.json()["code"]) == (409, "confirmation_needed")
            assert answer.json()["count"] == 3
    few = await site.api.post(f"{UPLOADS}/delete", json={"mediaIds": ids[:2], "hard": False})
    assert few.status_code == 202
    confirmed = await site.api.post(f"{UPLOADS}/delete", json={"mediaIds": ids, "hard": True, "confirm": 3})
    assert (confirmed.status_code, confirmed.json()["total"]) == (202, 3)
    while await site.bulk_deletions.work_page():
        pass
    parent = await site.job(few.json()["jobId"])
    assert (parent["status"], parent["completed"]) == ("completed", 2)
    parent = await site.job(confirmed.json()["jobId"])
    assert (parent["status"], parent["completed"], parent["progress"]) == ("active", 0, 0)
    for begun in await told(site, MediaDeletionBegunV1):
        await deliver(site, [*forgotten(begun), files_gone(begun)])
    parent = await site.job(confirmed.json()["jobId"])
    assert (parent["status"], parent["completed"]) == ("completed", 3)
    assert await site.rows.fetch("SELECT FROM notices WHERE type = 'media:deleted'") == []


async def test_nothing_waits_behind_files_that_can_not_be_removed_now(
    site: IngestSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_api.bulk_deletions.MOST_OPEN", 1)
    first, second, third, trash = [(await stored(site)).media_id for _ in range(4)]
    await delete(site, trash, hard=False)
    await delete(site, first, hard=True)
    jobs = []
    for path, body in (
        ("delete", {"mediaIds": [str(second)], "hard": True}),
        ("delete", {"mediaIds": [str(third)], "hard": False}),
        ("restore", {"mediaIds": [str(trash)]}),
    ):
        answer = await site.api.post(f"{UPLOADS}/{path}", json=body)
        assert answer.status_code == 202, answer.text
        jobs.append(answer.json()["jobId"])

    async def worked_off() -> list[str]:
        while await site.bulk_deletions.work_page():
            pass
        return [(await site.job(job_id))["status"] for job_id in jobs]

    assert await worked_off() == ["waiting", "completed", "completed"]
    assert (await site.api.get(f"{UPLOADS}/{trash}")).status_code == 200
    [begun] = await told(site, MediaDeletionBegunV1)
    await deliver(site, [*forgotten(begun), files_gone(begun)])
    assert await worked_off() == ["active", "completed", "completed"]


async def test_what_is_deleted_already_is_selected_by_its_own_word(site: IngestSite) -> None:
    trash, alive = [(await stored(site, entityId="a")).media_id for _ in range(2)]
    await delete(site, trash, hard=False)
    wrong = await site.api.post(f"{UPLOADS}/delete", json={"filter": {"entityId": "a", "deleted": True}, "hard": False})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "filter.deleted")
    body = {"filter": {"everything": True, "deleted": True}, "hard": True}
    assert (await site.api.post(f"{UPLOADS}/delete", json=body)).json()["total"] == 1
    while await site.bulk_deletions.work_page():
        pass
    assert [one.media_id for one in await told(site, MediaDeletionBegunV1)] == [trash]
    assert (await site.api.get(f"{UPLOADS}/{alive}")).status_code == 200
    empty = await site.api.post(f"{UPLOADS}/restore", json={"filter": {"entityId": "a"}})
    assert (empty.status_code, empty.json()["errors"][0]["field"]) == (422, "filter")


async def test_selections_that_make_no_sense_are_refused(site: IngestSite) -> None:
    media_id = str((await stored(site)).media_id)
    bodies: list[dict[str, Any]] = [
        {},
        {"mediaIds": []},
        {"mediaIds": [str(new_id())]},
        {"filter": {}},
        {"mediaIds": [media_id], "filter": {"everything": True}},
        {"mediaIds": [media_id], "hard": "yes"},
        {"mediaIds": [media_id], "confirm": "1"},
        {"mediaIds": [media_id], "unknown": 1},
    ]
    for body in bodies:
        answer = await site.api.post(f"{UPLOADS}/delete", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body
    headers = {"Authorization": f"Bearer {await site.key_of(Role.PHOTOGRAPHER)}"}
    assert (await site.api.delete(f"{UPLOADS}/{media_id}", headers=headers)).status_code == 403


async def test_deletions_are_listed_by_whether_they_are_open(site: IngestSite) -> None:
    ids = [(await stored(site)).media_id for _ in range(3)]
    deletions = [(await delete(site, media_id, hard=True))["deletionId"] for media_id in ids]
    [first, *_] = await told(site, MediaDeletionBegunV1)
    await deliver(site, [*forgotten(first), files_gone(first)])

    async def listed(**params: Any) -> list[str]:
        answer = (await site.api.get(f"{UPLOADS}/deletions", params=params)).json()
        found = [one["deletionId"] for one in answer["deletions"]]
        if answer["nextCursor"]:
            found += await listed(**params | {"cursor": answer["nextCursor"]})
        return found

    assert await listed() == await listed(limit=1) == deletions[::-1]
    assert await listed(status="processing") == deletions[:0:-1]
    assert await listed(status="completed") == deletions[:1]
    async with site.database.connection() as connection:
        receipts = MediaDeletionRepository(connection)
        assert await receipts.remove_receipts(3600, 10) == 0
        assert await receipts.remove_receipts(0, 10) == 1
    assert await listed() == deletions[:0:-1]
