"""People of events on a real database: found, kept, named, merged, split, undone, erased."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import pytest

from face_embedder.analysis import Analysis
from face_embedder.deciding import Deciding
from face_embedder.erasing import Erasing
from face_embedder.forgetting import Forgetting
from face_embedder.photos import Photo
from face_embedder.repositories.erasures import Erasures
from face_embedder.repositories.events import Events
from face_embedder.repositories.faces import Faces
from face_embedder.repositories.people import NEWS_AT_ONCE, People
from face_embedder.repositories.photos import NewPhoto, Photos, Result
from face_embedder.sorting import Sorting
from shared.db.migrations import migrate, service_migrations
from shared.db.pool import Database
from shared.db.unit_of_work import UnitOfWork
from shared.events import (
    ChangePeopleV1,
    Envelope,
    EraseFacesV1,
    Event,
    FaceToErase,
    MergePeople,
    NamePerson,
    PeopleChangeEndedV1,
    PeopleWish,
    PersonChangedV1,
    PhotoEventChangedV1,
    PhotoPeopleChangedV1,
    PhotoStatus,
    SplitPerson,
    UndoChange,
)
from shared.identifiers import new_id
from shared.messaging.delivery import Delivery
from shared.messaging.errors import AlreadyHandled
from shared.testing.databases import TestDatabases
from shared.testing.waiting import eventually
from tests.face_people import look
from tests.found_faces import at, found

pytestmark = pytest.mark.stack

E = TypeVar("E", bound=Event)
LOOK = 0.8
USER = new_id()


def delivery_of(event: Event) -> Delivery:
    envelope = Envelope.new(event, "/tests")
    return Delivery(
        consumer="face-embedder",
        envelope=envelope,
        topic=event.topic.name,
        partition=0,
        offset=0,
        key=event.key().encode(),
        headers=envelope.headers(),
        payload=event.payload(),
        attempt=1,
    )


def seen(*people: str, seed: int, size_px: float = 100.0) -> Analysis:
    """A picture of 600 by 450 pixels with these people side by side."""
    faces = [
        found(at(130.0 * place), 0.9).model_copy(
            update={
                "embedding": base64.b64encode(look(name, seed, LOOK).tobytes()).decode(),
                "sharpness": 200.0,
                "size_px": size_px,
            }
        )
        for place, name in enumerate(people)
    ]
    return Analysis(
        pack="lite", pack_version="1", threshold=0.45, width_px=600, height_px=450, faces=tuple(faces), preview=None
    )


@dataclass
class Album:
    """An event, its photos by name, and what was told of its people."""

    work: UnitOfWork
    event_id: UUID
    photos: dict[str, Photo] = field(default_factory=dict)
    version: int = 1

    @property
    def sorting(self) -> Sorting:
        return Sorting(self.work, 3600.0)

    async def tell(self, **changes: Any) -> None:
        """Tell of the event as it is now."""
        self.version += 1
        fact = {
            "event_id": self.event_id,
            "number": self.event_id.int % 10**12,
            "version": self.version,
            "name": "Wedding",
            "auto_index": False,
            "is_searchable": True,
            "faces_expire_at": None,
            "is_deleted": False,
            "changed_at": datetime.now(UTC),
            **changes,
        }
        async with self.work.begin() as transaction:
            await Events(transaction.connection).know(PhotoEventChangedV1.model_validate(fact))

    async def index(self, name: str, analysis: Analysis) -> None:
        """Record what was found on a photo, a known one too."""
        async with self.work.begin() as transaction:
            photos = Photos(transaction.connection)
            if name not in self.photos:
                new = NewPhoto(f"events/1/previews/{name}", name, "etag")
                (self.photos[name],) = await photos.add(self.event_id, [new])
            else:
                photo = self.photos[name]
                (self.photos[name],) = await photos.renew({photo.photo_id: f"etag {new_id()}"})
            photo = self.photos[name]
            places = await Erasures(transaction.connection).places(photo, "etag")
            assert not places
            result = Result(PhotoStatus.INDEXED, faces=len(analysis.faces), confidence=analysis.confidence())
            assert await photos.record(photo, result) is not None
            await Faces(transaction.connection).replace(photo, analysis)
            await Erasures(transaction.connection).note_size(photo, analysis.width_px, analysis.height_px)

    async def sort(self) -> None:
        """Until nothing waits."""
        while await self.sorting.turn(self.event_id):
            pass

    async def whose(self) -> dict[str, list[UUID | None]]:
        """The people on each photo, from left to right."""
        sql = """
            SELECT s3_key, person_id FROM members JOIN faces USING (face_id)
            JOIN photos ON photos.photo_id = faces.photo_id
            WHERE members.event_id = $1 ORDER BY s3_key, box
        """
        names: dict[str, list[UUID | None]] = {}
        for row in await self.rows(sql, self.event_id):
            names.setdefault(row["s3_key"].rpartition("/")[2], []).append(row["person_id"])
        return names

    async def face(self, name: str, place: int = 0) -> UUID:
        """The face in a place of a photo, from the left."""
        rows = await self.rows("SELECT face_id FROM faces WHERE photo_id = $1 ORDER BY box", self.photos[name].photo_id)
        face_id: UUID = rows[place]["face_id"]
        return face_id

    async def decide(self, wish: PeopleWish) -> PeopleChangeEndedV1:
        """What came of a wish; twice is once."""
        command = ChangePeopleV1(
            change_id=new_id(),
            event_id=self.event_id,
            wish=wish,
            requested_by=USER,
            requested_at=datetime.now(UTC),
        )
        delivery, deciding = delivery_of(command), Deciding(self.work)
        await deciding.decide(command, delivery)
        with pytest.raises(AlreadyHandled):
            await deciding.decide(command, delivery)
        (ended,) = [one for one in await self.told(PeopleChangeEndedV1) if one.change_id == command.change_id]
        return ended

    async def refused(self, wish: PeopleWish) -> str | None:
        before = await self.whose()
        ended = await self.decide(wish)
        assert not ended.is_done
        assert ended.detail
        assert await self.whose() == before
        return ended.code

    async def told(self, kind: type[E]) -> list[E]:
        sql = "SELECT payload FROM outbox WHERE headers ->> 'ce_type' = $1 AND key = $2 ORDER BY id"
        rows = await self.rows(sql, kind.event_type, str(self.event_id))
        return [kind.model_validate_json(row["payload"]) for row in rows]

    async def known(self) -> dict[UUID, PersonChangedV1]:
        """Who is there by what was told; and that the photos say the same."""
        people: dict[UUID, PersonChangedV1] = {}
        for fact in await self.told(PersonChangedV1):
            assert fact.person_id not in people or people[fact.person_id].version < fact.version
            people[fact.person_id] = fact
        photos: dict[UUID, PhotoPeopleChangedV1] = {}
        for photo in await self.told(PhotoPeopleChangedV1):
            assert photo.photo_id not in photos or photos[photo.photo_id].version < photo.version
            photos[photo.photo_id] = photo
        there = {person_id: fact for person_id, fact in people.items() if not fact.is_gone}
        faces = [face.person_id for photo in photos.values() for face in photo.faces]
        assert {person_id: fact.faces for person_id, fact in there.items()} == {
            person_id: faces.count(person_id) for person_id in set(faces) - {None}
        }
        kept = [person for people in (await self.whose()).values() for person in people]
        assert sorted(map(str, kept)) == sorted(map(str, faces))
        return there

    async def known_name(self, person_id: UUID) -> str | None:
        return (await self.known())[person_id].name

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        async with self.work.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))


@pytest.fixture(scope="module")
async def work(databases: TestDatabases) -> AsyncIterator[UnitOfWork]:
    database = await databases.create()
    pool = Database(database.dsn("face-embedder"), application_name="tests", max_connections=6)
    yield UnitOfWork(pool, source="/tests", schema="faces")
    await pool.close()
    await databases.drop(database)


async def album_of(work: UnitOfWork) -> Album:
    made = Album(work, new_id())
    await made.tell()
    return made


@pytest.fixture
async def album(work: UnitOfWork) -> Album:
    return await album_of(work)


PHOTOS: Mapping[str, Sequence[str]] = {
    "a.jpg": ("Anna", "Ben"),
    "b.jpg": ("Ben", "Carl", "Anna"),
    "c.jpg": ("Anna",),
    "d.jpg": ("Carl", "Dora"),
}


async def filled(album: Album, photos: Mapping[str, Sequence[str]] = PHOTOS) -> dict[str, UUID]:
    """The people of photos, found turn by turn."""
    for seed, (name, people) in enumerate(photos.items()):
        await album.index(name, seen(*people, seed=seed))
        await album.sort()
    return await people_of(album, photos)


async def people_of(album: Album, photos: Mapping[str, Sequence[str]] = PHOTOS) -> dict[str, UUID]:
    """By what they are called here; each is one person, and no two are the same."""
    whose = await album.whose()
    found_as: dict[str, set[UUID | None]] = {}
    for name, people in photos.items():
        for person, person_id in zip(people, whose[name], strict=True):
            found_as.setdefault(person, set()).add(person_id)
    ids = {person: person_id for person, ids in found_as.items() for person_id in ids if person_id}
    assert all(len(ids) == 1 for ids in found_as.values()), found_as
    assert len(set(ids.values())) == len(ids)
    return ids


async def test_people_are_found_in_any_order_and_stay_the_same(work: UnitOfWork, album: Album) -> None:
    people = await filled(album)
    assert {fact.person_id: (fact.faces, fact.photos) for fact in (await album.known()).values()} == {
        people["Anna"]: (3, 3),
        people["Ben"]: (2, 2),
        people["Carl"]: (2, 2),
        people["Dora"]: (1, 1),
    }
    other = await album_of(work)
    for seed, (name, names) in reversed(list(enumerate(PHOTOS.items()))):
        await other.index(name, seen(*names, seed=seed))
    await other.sort()
    assert set((await people_of(other)).values()).isdisjoint(people.values())
    # A photo that is looked at again, and one more of everybody.
    await album.index("b.jpg", seen(*PHOTOS["b.jpg"], seed=1))
    await album.index("e.jpg", seen("Dora", "Carl", "Ben", "Anna", seed=9))
    await album.sort()
    assert await people_of(album, {**PHOTOS, "e.jpg": ("Dora", "Carl", "Ben", "Anna")}) == people
    assert (await album.known())[people["Anna"]].faces == 4
    # Nothing waits, so nothing more is told.
    facts = len(await album.told(PersonChangedV1))
    await album.sorting.round()
    assert len(await album.told(PersonChangedV1)) == facts


async def test_another_picture_under_the_key_has_none_of_its_people(album: Album) -> None:
    people = await filled(album)
    await album.decide(NamePerson(person_id=people["Dora"], name="Dora"))
    # In Dora's place, and by chance as large.
    await album.index("d.jpg", seen("Carl", "Emil", seed=20))
    await album.sort()
    carl, emil = (await album.whose())["d.jpg"]
    assert carl == people["Carl"]
    assert emil not in people.values()
    assert people["Dora"] not in await album.known()
    assert await album.rows("SELECT 1 FROM people WHERE name = 'Dora'") == []


async def test_the_database_lets_nobody_be_in_two_events(work: UnitOfWork, album: Album) -> None:
    people = await filled(album)
    other = await album_of(work)
    theirs = await filled(other)
    for sql in (
        "UPDATE members SET person_id = $1, part = $1 WHERE person_id = $2",
        "UPDATE people SET merged_into = $1 WHERE person_id = $2",
    ):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await album.rows(sql, people["Anna"], theirs["Anna"])
    strange = MergePeople(into=people["Anna"], people=(theirs["Anna"],))
    assert await album.refused(strange) == "unknown_person"
    split = SplitPerson(person_id=people["Anna"], faces=(await other.face("a.jpg"),))
    assert await album.refused(split) == "unknown_face"
    assert await album.refused(NamePerson(person_id=theirs["Anna"], name="x")) == "unknown_person"


async def test_a_name_stays_and_goes_back(album: Album) -> None:
    people = await filled(album)
    anna = people["Anna"]
    version = (await album.known())[anna].version
    named = await album.decide(NamePerson(person_id=anna, name="Anna", version=version))
    assert (named.is_done, named.person_id) == (True, anna)
    assert await album.refused(NamePerson(person_id=anna, name="Eva", version=version)) == "person_changed"
    again = await album.decide(NamePerson(person_id=anna, name="Anne"))
    # Now younger faces come, and whoever has a name keeps it.
    await album.index("e.jpg", seen("Anna", seed=9))
    await album.sort()
    assert (await album.known())[anna].name == "Anne"
    assert await album.refused(UndoChange(undone=named.change_id)) == "changed_since"
    assert (await album.decide(UndoChange(undone=again.change_id))).is_done
    assert (await album.known())[anna].name == "Anna"
    assert await album.refused(UndoChange(undone=again.change_id)) == "already_undone"
    assert (await album.decide(UndoChange(undone=named.change_id))).is_done
    assert (await album.known())[anna].name is None
    assert await album.refused(UndoChange(undone=new_id())) == "unknown_change"


async def test_a_merge_gathers_what_comes_and_its_undo_gives_it_back(album: Album) -> None:
    people = await filled(album)
    anna, carl = people["Anna"], people["Carl"]
    await album.decide(NamePerson(person_id=carl, name="Carl"))
    merged = await album.decide(MergePeople(into=anna, people=(carl, carl)))
    assert merged.person_id == anna
    await album.sort()
    known = await album.known()
    assert (known[anna].name, known[anna].faces) == ("Carl", 5)
    assert carl not in known
    assert [fact.merged_into for fact in await album.told(PersonChangedV1) if fact.person_id == carl][-1] == anna
    assert await album.refused(NamePerson(person_id=carl, name="x")) == "unknown_person"
    assert await album.refused(MergePeople(into=anna, people=(anna,))) == "nobody_to_merge"

    # Who looks like either of them is theirs; and goes back with whom they look like.
    await album.index("e.jpg", seen("Carl", seed=9))
    await album.index("f.jpg", seen("Anna", seed=9))
    await album.sort()
    assert {person for name in ("e.jpg", "f.jpg") for person in (await album.whose())[name]} == {anna}
    assert (await album.decide(UndoChange(undone=merged.change_id))).is_done
    await album.sort()
    known = await album.known()
    assert (known[anna].name, known[carl].name) == (None, "Carl")
    assert await people_of(album, {**PHOTOS, "e.jpg": ("Carl",), "f.jpg": ("Anna",)}) == people
    assert await album.refused(UndoChange(undone=merged.change_id)) == "already_undone"


async def test_who_was_split_off_is_not_joined_again(album: Album) -> None:
    people = await filled(album, dict.fromkeys(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), ("Anna",)))
    anna = people["Anna"]
    faces = [await album.face(name) for name in ("a.jpg", "b.jpg")]
    assert await album.refused(SplitPerson(person_id=anna, faces=())) == "nothing_to_split"
    split = await album.decide(SplitPerson(person_id=anna, faces=tuple(faces)))
    twin = split.person_id
    assert twin not in (None, anna)
    # They look alike, and whoever comes is like both.
    for seed in range(20, 24):
        await album.index(f"{seed}.jpg", seen("Anna", seed=seed))
        await album.sort()
    whose = await album.whose()
    assert {name: whose[name] for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")} == {
        "a.jpg": [twin],
        "b.jpg": [twin],
        "c.jpg": [anna],
        "d.jpg": [anna],
    }
    # Also when one of them is looked at anew.
    await album.index("a.jpg", seen("Anna", seed=0))
    await album.sort()
    assert (await album.whose())["a.jpg"] == [twin]
    everybody = [person for people in whose.values() for person in people]
    assert len(everybody) == 8
    assert set(everybody) <= {anna, twin}
    # Undone: one again, with whoever has joined them since.
    assert (await album.decide(UndoChange(undone=split.change_id))).person_id == anna
    await album.sort()
    assert {person for people in (await album.whose()).values() for person in people} == {anna}
    assert set(await album.known()) == {anna}


async def erase(album: Album, name: str) -> None:
    command = EraseFacesV1(
        erasure_id=new_id(),
        event_id=album.event_id,
        faces=(FaceToErase(photo_id=album.photos[name].photo_id, box=at(0.0)),),
    )
    await Erasing(album.work).erase(command, delivery_of(command))


async def test_an_erased_person_goes_with_the_name_at_once(album: Album) -> None:
    people = await filled(album, {"a.jpg": ("Anna",), "b.jpg": ("Ben",), "c.jpg": ("Ben",)})
    anna, ben = people["Anna"], people["Ben"]
    await album.decide(NamePerson(person_id=anna, name="Anna"))
    # However much else waits to be told.
    news = "INSERT INTO people_news (event_id, photo_id) SELECT $1, $2 FROM generate_series(1, 1200)"
    await album.rows(news, album.event_id, album.photos["b.jpg"].photo_id)
    await erase(album, "a.jpg")
    # Without another turn: it was the same transaction.
    assert set(await album.known()) == {ben}
    gone = [fact for fact in await album.told(PersonChangedV1) if fact.person_id == anna][-1]
    assert (gone.is_gone, gone.name, gone.faces, gone.cover) == (True, None, 0, None)
    assert await album.rows("SELECT 1 FROM people WHERE person_id = $1", anna) == []
    assert await album.rows("SELECT 1 FROM changed_people WHERE person_id = $1", anna) == []
    assert await album.rows("SELECT 1 FROM members WHERE person_id = $1", anna) == []


async def test_of_whom_was_merged_and_erased_not_even_the_name_is_left(album: Album) -> None:
    people = await filled(album, {"a.jpg": ("Anna",), "b.jpg": ("Ben",), "c.jpg": ("Ben",)})
    anna, ben = people["Anna"], people["Ben"]
    await album.decide(NamePerson(person_id=anna, name="Anna"))
    merged = await album.decide(MergePeople(into=ben, people=(anna,)))
    assert (await album.known_name(ben)) == "Anna"
    await album.decide(NamePerson(person_id=ben, name="Ben"))
    await erase(album, "a.jpg")
    assert await album.rows("SELECT 1 FROM people WHERE person_id = $1", anna) == []
    assert await album.rows("SELECT 1 FROM changed_people WHERE person_id = $1", anna) == []
    last = (
        await album.rows(
            "SELECT change_id FROM people_changes WHERE event_id = $1 ORDER BY number DESC", album.event_id
        )
    )[0]
    await album.decide(UndoChange(undone=last["change_id"]))
    assert await album.known_name(ben) is None
    assert await album.refused(UndoChange(undone=merged.change_id)) == "nothing_left"


async def test_of_whom_some_faces_were_erased_the_others_have_no_name(album: Album) -> None:
    photos = {f"{seed}.jpg": ("Anna", "Ben") for seed in range(3)}
    people = await filled(album, photos)
    anna, ben = people["Anna"], people["Ben"]
    for person_id, name in ((anna, "Ann"), (anna, "Anna"), (ben, "Ben")):
        named = await album.decide(NamePerson(person_id=person_id, name=name))
    split = await album.decide(SplitPerson(person_id=anna, faces=(await album.face("2.jpg"),)))
    assert split.person_id is not None
    await album.decide(NamePerson(person_id=split.person_id, name="Anna too"))
    merged = await album.decide(MergePeople(into=anna, people=(split.person_id,)))
    await erase(album, "0.jpg")
    assert {person_id: fact.name for person_id, fact in (await album.known()).items()} == {anna: None, ben: "Ben"}
    assert (await album.decide(UndoChange(undone=merged.change_id))).is_done
    names = {person_id: fact.name for person_id, fact in (await album.known()).items()}
    assert names == {anna: None, ben: "Ben", split.person_id: None}
    assert (await album.decide(UndoChange(undone=named.change_id))).is_done


async def test_small_faces_join_who_is_found_later_and_are_nobody_alone(album: Album) -> None:
    await album.index("a.jpg", seen("Anna", seed=1, size_px=30))
    await album.index("b.jpg", seen("Ben", seed=1, size_px=30))
    await album.sort()
    assert await album.whose() == {"a.jpg": [None], "b.jpg": [None]}
    assert await album.known() == {}
    await album.index("c.jpg", seen("Anna", seed=2))
    await album.sort()
    whose = await album.whose()
    assert whose["a.jpg"] == whose["c.jpg"] != [None]
    assert whose["b.jpg"] == [None]


async def test_where_faces_may_not_be_looked_for_nobody_is_found(album: Album) -> None:
    await album.tell(is_searchable=False)
    await album.index("a.jpg", seen("Anna", seed=1))
    await album.sort()
    assert await album.whose() == {"a.jpg": [None]}
    await album.tell()
    await album.sort()
    (person,) = (await album.whose())["a.jpg"]
    assert person is not None
    await album.tell(is_searchable=False)
    assert await album.refused(NamePerson(person_id=person, name="Anna")) == "search_off"


async def test_of_an_event_that_is_deleted_nobody_is_left(album: Album) -> None:
    people = await filled(album)
    await album.decide(MergePeople(into=people["Anna"], people=(people["Carl"],)))
    await album.tell(is_deleted=True)
    await Forgetting(album.work).sweep()
    await album.sort()
    assert await album.known() == {}
    for table in ("people", "members", "people_news"):
        assert await album.rows(f"SELECT 1 FROM {table} WHERE event_id = $1", album.event_id) == []


async def test_nobody_is_found_twice_while_photos_change_to_another_pack(album: Album) -> None:
    people = await filled(album)
    # The event has changed, and its photos are about to.
    await album.rows("UPDATE events SET pack = 'lite', pack_version = '2' WHERE event_id = $1", album.event_id)
    await album.rows(
        "INSERT INTO second_looks (photo_id, event_id, pack, pack_version, generation, state) "
        "VALUES ($1, $2, 'lite', '2', 1, 'done')",
        album.photos["a.jpg"].photo_id,
        album.event_id,
    )
    later = seen("Anna", seed=9).model_copy(update={"pack_version": "2"})
    await album.index("e.jpg", later)
    await album.sort()
    assert (await album.whose())["e.jpg"] == [None]
    await album.rows("DELETE FROM second_looks WHERE event_id = $1", album.event_id)
    await album.rows("UPDATE faces SET pack_version = '2' WHERE event_id = $1", album.event_id)
    await album.sort()
    assert (await album.whose())["e.jpg"] == [people["Anna"]]


async def test_an_event_that_can_not_be_sorted_holds_up_no_other(
    work: UnitOfWork, album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await album_of(work)
    for one in (album, other):
        await one.index("a.jpg", seen("Anna", seed=1))
    sorting = album.sorting
    turn = sorting.turn

    async def fails_for_one(event_id: UUID) -> bool:
        if event_id == album.event_id:
            raise RuntimeError("broken")
        return await turn(event_id)

    monkeypatch.setattr(sorting, "turn", fails_for_one)
    await sorting.round()
    assert await album.whose() == {"a.jpg": [None]}
    assert await other.whose() != {"a.jpg": [None]}
    much = "INSERT INTO people_news (event_id, photo_id) SELECT $1, gen_random_uuid() FROM generate_series(0, $2)"
    await album.rows(much, album.event_id, NEWS_AT_ONCE)
    await other.rows("DELETE FROM faces WHERE event_id = $1", other.event_id)
    await sorting.round()
    assert await other.known() == {}
    await album.sorting.round()
    assert await album.whose() != {"a.jpg": [None]}


async def test_a_large_event_rests_between_turns_unless_many_faces_wait(
    work: UnitOfWork, album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, sorting = await album_of(work), album.sorting
    moment, turn_seconds = 0.0, 6.0

    def monotonic() -> float:
        nonlocal moment
        moment += turn_seconds
        return moment

    async def waits(album: Album) -> int:
        return sum(people == [None] for people in (await album.whose()).values())

    monkeypatch.setattr("face_embedder.sorting.FACES_AT_ONCE", 2)
    monkeypatch.setattr("face_embedder.sorting.QUICK_SECONDS", 5.0)
    monkeypatch.setattr("face_embedder.sorting.REST_TIMES", 1000.0)
    monkeypatch.setattr("face_embedder.sorting.time", SimpleNamespace(monotonic=monotonic))
    for seed in range(3):
        await album.index(f"{seed}.jpg", seen("Anna", seed=seed))
    await sorting.round()
    assert await waits(album) == 0, "the first turn was a full one"
    for one in (album, other):
        await one.index("later.jpg", seen("Anna", seed=4))
    await sorting.round()
    assert (await waits(album), await waits(other)) == (1, 0)
    moment += 6000.0
    turn_seconds = 1.0
    await sorting.round()
    assert await waits(album) == 0


async def test_replicas_take_turns_and_one_that_dies_leaves_its_work(work: UnitOfWork, album: Album) -> None:
    for seed in range(12):
        await album.index(f"{seed}.jpg", seen("Anna", "Ben", seed=seed))

    async def dies_in_the_middle() -> None:
        async with work.begin() as transaction:
            people = People(transaction.connection)
            assert await people.try_lock(album.event_id)
            assert await people.waiting(album.event_id, "first", 10)
            held.set()
            await asyncio.sleep(60)

    held = asyncio.Event()
    dying = asyncio.create_task(dies_in_the_middle())
    async with asyncio.timeout(30):
        await held.wait()
    assert not await album.sorting.turn(album.event_id)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    await eventually(lambda: album.sorting.turn(album.event_id), why="its work goes on")
    await asyncio.gather(*(album.sorting.round() for _ in range(3)))
    await album.sort()
    assert len(await people_of(album, {f"{seed}.jpg": ("Anna", "Ben") for seed in range(12)})) == 2
    await album.known()


async def test_faces_that_were_found_before_there_were_people_are_sorted(databases: TestDatabases) -> None:
    database = await databases.create_empty()
    known = service_migrations("face-embedder")
    before = next(index for index, one in enumerate(known) if one.name == "face-embedder/0004_people")
    connection = await asyncpg.connect(database.dsn("face-embedder"))
    event_id, photo_id, vector = new_id(), new_id(), look("Anna", 1).tolist()
    try:
        await migrate(connection, known[:before])
        await connection.execute("INSERT INTO events (event_id, number, is_searchable) VALUES ($1, 1, true)", event_id)
        sql = "INSERT INTO photos (photo_id, event_id, s3_key, stem) VALUES ($1, $2, 'a.jpg', 'a')"
        await connection.execute(sql, photo_id, event_id)
        await connection.execute(
            """
            INSERT INTO faces (face_id, event_id, photo_id, pack, pack_version, embedding, box, landmarks, score,
                               size_px, sharpness, yaw, pitch, roll)
            VALUES ($1, $2, $3, 'lite', '1', $4::text::halfvec(512), '{1, 2, 3, 4}', '{}', 1, 100, 200, 0, 0, 0)
            """,
            new_id(),
            event_id,
            photo_id,
            str(vector),
        )
        await migrate(connection, known)
    finally:
        await connection.close()
    pool = Database(database.dsn("face-embedder"), application_name="tests", max_connections=2)
    album = Album(UnitOfWork(pool, source="/tests", schema="faces"), event_id)
    await album.sorting.round()
    assert len(await album.known()) == 1
    await pool.close()
    await databases.drop(database)
