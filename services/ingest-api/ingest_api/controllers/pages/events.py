"""Photographed events: photos and faces, people, links for guests, what guests ask for, and how long faces are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.event_photos import ShownStatus
from ingest_api.cursors import Identified, cursor_behind, decode_cursor, encode_cursor, id_of
from ingest_api.face_crops import crop_of
from ingest_api.pages.page import PageController, Pages
from ingest_api.photo_desk import PhotoDesk
from ingest_api.photo_event import PhotoEvent
from ingest_api.problem_details import Problem
from ingest_api.repositories.event_overviews import MOST_COUNTED, EventOverviewRepository
from ingest_api.repositories.face_erasures import FaceErasureRepository
from ingest_api.repositories.face_syncs import FaceSyncRepository
from ingest_api.repositories.people import PeopleRepository, Person
from ingest_api.sign_in import SignIn
from shared.events import PhotoStatus

EVENTS_PER_PAGE = 24
PHOTOS_PER_PAGE = 60
PEOPLE_PER_PAGE = 60
ROWS_PER_PAGE = 50
MOST_REQUESTS = 20
MOST_DECIDED = 20
MOST_CHANGES = 30
MOST_REMOVALS = 10


class EventPages(PageController):
    """For photographers their own events, for admins all."""

    path = "/admin/events"
    guards = (require(Role.PHOTOGRAPHER),)

    @get()
    async def events(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Newest first, with those of which something is still being removed."""
        by = request.user
        found = await photo_desk.events.newest(by, id_of(cursor), EVENTS_PER_PAGE + 1)
        shown = found[:EVENTS_PER_PAGE]
        async with sign_in.database.connection() as connection:
            overviews = EventOverviewRepository(connection)
            known = await overviews.of([event.id for event in shown])
            owner = None if by.may(Role.ADMIN) else by.user_id
            removals = await overviews.unfinished_removals(owner, MOST_REMOVALS)
        return pages.answer(
            request,
            "events/events.html",
            events=shown,
            overviews=known,
            covers={event.id: photo_desk.urls.of(event, known[event.id].cover_key) for event in shown},
            removals=removals,
            most_counted=MOST_COUNTED,
            now=datetime.now(UTC),
            is_first_page=cursor is None,
            older=_next(self.path, found, EVENTS_PER_PAGE),
        )

    @get("/{event_uuid:uuid}")
    async def photos(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
        status: FromQuery[ShownStatus | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """In the order in which they were found, with the sync that brings new ones."""
        event = await photo_desk.events.read(event_uuid, request.user)
        wanted = None if status is None else PhotoStatus(status)
        found = await photo_desk.photos.page(event, wanted, id_of(cursor), PHOTOS_PER_PAGE + 1)
        shown = found[:PHOTOS_PER_PAGE]
        async with sign_in.database.connection() as connection:
            sync = await FaceSyncRepository(connection).newest_of_event(event.id)
            counts = await EventOverviewRepository(connection).photos_by_status(event.id)
        base = f"{self.path}/{event.id}" + (f"?status={status}" if status else "")
        return pages.answer(
            request,
            "events/photos.html",
            **await _frame(event, "photos", sign_in),
            photos=shown,
            urls={photo.id: photo_desk.urls.of(event, photo.s3_key) for photo in shown},
            counts=counts,
            only=status,
            sync=sync,
            eta_seconds=None if sync is None else sync.eta_seconds(datetime.now(UTC)),
            is_first_page=cursor is None,
            older=_next(base, found, PHOTOS_PER_PAGE),
            upload_limit_bytes=photo_desk.uploads.limit_bytes,
        )

    @get("/{event_uuid:uuid}/photos/{photo_id:uuid}")
    async def photo(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        photo_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
    ) -> Response[str]:
        """One photo with boxes around its faces; without them while faces may not be looked for."""
        event = await photo_desk.events.read(event_uuid, request.user)
        photos = await photo_desk.photos.by_ids(event, [photo_id])
        if not photos:
            raise Problem(404, "not_found", "This event has no such photo.")
        is_searchable = event.is_searchable(datetime.now(UTC))
        faces = await photo_desk.people.faces(event, photo_id) if is_searchable else None
        return pages.answer(
            request,
            "events/photo.html",
            **await _frame(event, "photos", sign_in),
            photo=photos[0],
            preview_url=photo_desk.urls.of(event, photos[0].s3_key),
            original_url=photo_desk.urls.of(event, photos[0].image_key),
            faces=faces,
        )

    @get("/{event_uuid:uuid}/people")
    async def people(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Who has most faces first, and what was decided about people lately."""
        event = await photo_desk.events.read(event_uuid, request.user)
        after = None if cursor is None else decode_cursor(cursor, _position)
        found: list[Person] = []
        changes: list[Any] = []
        if event.is_searchable(datetime.now(UTC)):
            found = await photo_desk.people.page(event, after, PEOPLE_PER_PAGE + 1)
            changes = await photo_desk.people.changes(event, None, MOST_CHANGES)
        shown = found[:PEOPLE_PER_PAGE]
        last = shown[-1] if len(found) > len(shown) else None
        base = f"{self.path}/{event.id}/people"
        return pages.answer(
            request,
            "events/people.html",
            **await _frame(event, "people", sign_in),
            people=shown,
            crops=await _covers(event, shown, photo_desk, sign_in),
            changes=changes,
            is_first_page=cursor is None,
            older=last and f"{base}?cursor={encode_cursor(f'{last.faces} {last.id}')}",
        )

    @get("/{event_uuid:uuid}/people/{person_id:uuid}")
    async def person(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        person_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Somebody's faces, photo by photo; those of others among them can be split off."""
        event = await photo_desk.people.event(event_uuid, request.user)
        person = await photo_desk.people.read(event, person_id)
        found = await photo_desk.people.photos(event, person_id, id_of(cursor), PHOTOS_PER_PAGE + 1)
        shown = found[:PHOTOS_PER_PAGE]
        async with sign_in.database.connection() as connection:
            sizes = await PeopleRepository(connection).preview_sizes([photo.id for photo in shown])
        faces = [
            (photo, face, crop_of(photo_desk.urls.of(event, photo.s3_key), face.box, sizes.get(photo.id)))
            for photo in shown
            for face in photo.faces
        ]
        return pages.answer(
            request,
            "events/person.html",
            **await _frame(event, "people", sign_in),
            person=person,
            cover=(await _covers(event, [person], photo_desk, sign_in)).get(person.id),
            faces=faces,
            older=_next(f"{self.path}/{event.id}/people/{person.id}", found, PHOTOS_PER_PAGE),
        )

    @get("/{event_uuid:uuid}/sharing")
    async def sharing(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Links for guests, newest first; their addresses can't be shown again."""
        event = await photo_desk.events.read(event_uuid, request.user)
        found = await photo_desk.galleries.of_event(event, id_of(cursor), ROWS_PER_PAGE + 1)
        shown = found[:ROWS_PER_PAGE]
        return pages.answer(
            request,
            "events/sharing.html",
            **await _frame(event, "sharing", sign_in),
            galleries=shown,
            guests_can_search=photo_desk.search.is_open_to_guests(event),
            older=_next(f"{self.path}/{event.id}/sharing", found, ROWS_PER_PAGE),
        )

    @get("/{event_uuid:uuid}/requests")
    async def requests(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
    ) -> Response[str]:
        """What guests ask to have erased, or the visitor for them, oldest first; what was decided, with receipts."""
        event = await photo_desk.events.read(event_uuid, request.user)
        requests = await photo_desk.erasures.requested(event, None, MOST_REQUESTS, request.user)
        photo_ids = list({face.photo_id for one in requests for face in one.faces})
        photos = {photo.id: photo for photo in await photo_desk.photos.by_ids(event, photo_ids)}
        async with sign_in.database.connection() as connection:
            sizes = await PeopleRepository(connection).preview_sizes(photo_ids)
            decided = await FaceErasureRepository(connection).decided(event.id, MOST_DECIDED, request.user.user_id)
        crops = {
            one.id: [
                (
                    face.photo_id,
                    crop_of(
                        photo_desk.urls.of(event, photos[face.photo_id].s3_key), face.box, sizes.get(face.photo_id)
                    ),
                )
                for face in one.faces
                if face.photo_id in photos
            ]
            for one in requests
        }
        return pages.answer(
            request,
            "events/requests.html",
            **await _frame(event, "requests", sign_in),
            requests=requests,
            crops=crops,
            decided=decided,
        )

    @get("/{event_uuid:uuid}/activity")
    async def activity(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """Who searched, and who decided what about the search."""
        event = await photo_desk.events.read(event_uuid, request.user)
        found = await photo_desk.search.records(event.id, id_of(cursor), ROWS_PER_PAGE + 1)
        shown = found[:ROWS_PER_PAGE]
        galleries = await photo_desk.galleries.of_event(event, None, ROWS_PER_PAGE)
        return pages.answer(
            request,
            "events/activity.html",
            **await _frame(event, "activity", sign_in),
            searches=shown,
            gallery_names={gallery.id: gallery.name for gallery in galleries},
            decisions=await photo_desk.events.decisions(event.id, request.user, None, ROWS_PER_PAGE),
            older=_next(f"{self.path}/{event.id}/activity", found, ROWS_PER_PAGE),
        )

    @get("/{event_uuid:uuid}/settings")
    async def settings(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
        sign_in: NamedDependency[SignIn],
    ) -> Response[str]:
        """What may be done with faces and how long, and the end of the event."""
        event = await photo_desk.events.read(event_uuid, request.user)
        return pages.answer(request, "events/settings.html", **await _frame(event, "settings", sign_in))

    @get("/{event_uuid:uuid}/removal")
    async def removal(
        self,
        request: SignedInRequest,
        event_uuid: FromPath[UUID],
        pages: NamedDependency[Pages],
        photo_desk: NamedDependency[PhotoDesk],
    ) -> Response[str]:
        """How far the removal of a deleted event is."""
        removal = await photo_desk.removals.read(event_uuid, request.user)
        return pages.answer(request, "events/removal.html", removal=removal)


async def _frame(event: PhotoEvent, tab: str, sign_in: SignIn) -> dict[str, Any]:
    """What stands around each page of an event."""
    async with sign_in.database.connection() as connection:
        overview = (await EventOverviewRepository(connection).of([event.id]))[event.id]
    now = datetime.now(UTC)
    return {
        "event": event,
        "tab": tab,
        "overview": overview,
        "is_searchable": event.is_searchable(now),
        "is_over": event.expires_at is not None and event.expires_at <= now,
        "now": now,
    }


async def _covers(event: PhotoEvent, people: list[Person], desk: PhotoDesk, sign_in: SignIn) -> dict[UUID, Any]:
    """The face that shows each of them best, where there is one."""
    photo_ids = [person.cover_photo_id for person in people if person.cover_photo_id is not None]
    async with sign_in.database.connection() as connection:
        sizes = await PeopleRepository(connection).preview_sizes(photo_ids)
    return {
        person.id: crop
        for person in people
        if person.cover_photo_id is not None
        and (crop := crop_of(desk.urls.of(event, person.cover_key), person.cover_box, sizes.get(person.cover_photo_id)))
    }


def _next(address: str, found: Sequence[Identified], limit: int) -> str | None:
    """Where a list that is ordered by id goes on."""
    cursor = cursor_behind(found, limit)
    return cursor and f"{address}{'&' if '?' in address else '?'}cursor={cursor}"


def _position(text: str) -> tuple[int, UUID]:
    faces, _, person_id = text.partition(" ")
    return int(faces), UUID(person_id)
