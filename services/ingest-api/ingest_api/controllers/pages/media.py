"""The media library: all media as tiles, and each with what is known of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.catalogue import Media, Records
from ingest_api.controllers.media import no_such_medium
from ingest_api.cursors import MAX_LIMIT, cursor_behind
from ingest_api.media_deletion import restore_conflict
from ingest_api.media_filters import MEDIA_STATUSES
from ingest_api.media_library import TILES_PER_PAGE, JobState, LibraryView, ShownMedium, read_view
from ingest_api.pages.page import FRAGMENT_PARAMETER, PageController, Pages
from ingest_api.repositories.media import MediaRepository
from ingest_api.repositories.media_deletions import MediaDeletionRepository
from ingest_api.repositories.media_library import MediaLibraryRepository
from shared.db.pool import Database
from shared.events import StorageStatus, StorageStrategy
from shared.settings_feed import SettingsFeed

LIBRARY = "/admin/media"
ENTITY_TYPES_OFFERED = 50


class MediaPages(PageController):
    path = LIBRARY
    guards = (require(Role.ADMIN),)

    @get()
    async def library(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        feed: NamedDependency[SettingsFeed],
    ) -> Response[str]:
        """Newest first, as the address says; its part `tiles` is what scripts ask for as people scroll."""
        view = read_view(request.query_params)
        is_whole = FRAGMENT_PARAMETER not in request.query_params
        async with database.connection() as connection:
            found = await MediaRepository(connection).newest(view.filter, view.after, TILES_PER_PAGE + 1)
            page = found[:TILES_PER_PAGE]
            library = MediaLibraryRepository(connection)
            jobs = await library.newest_jobs([media.id for media in page if media.status == "processing"])
            entity_types = await library.entity_types(ENTITY_TYPES_OFFERED) if is_whole else []
        next_cursor = cursor_behind(found, TILES_PER_PAGE)
        return pages.answer(
            request,
            "media/library.html",
            media=[_shown(media, pages.records, jobs) for media in page],
            view=view,
            next_cursor=next_cursor,
            next_address=next_cursor and _address(view, next_cursor),
            entity_types=entity_types,
            media_statuses=MEDIA_STATUSES,
            storage_statuses=list(StorageStatus),
            strategies=list(StorageStrategy),
            settings=feed.current(),
            may_sync=request.user.may(Role.SUPERADMIN),
        )

    @get("/{media_id:uuid}")
    async def medium(
        self,
        request: SignedInRequest,
        media_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        feed: NamedDependency[SettingsFeed],
    ) -> Response[str]:
        """One medium, a deleted one too; its part `drawer` is shown beside the list."""
        async with database.connection() as connection:
            media = await MediaRepository(connection).get(media_id)
            if media is None:
                raise no_such_medium()
            jobs = await MediaLibraryRepository(connection).newest_jobs([media.id])
            timeline = await MediaDeletionRepository(connection).timeline(media.id, MAX_LIMIT)
        return pages.answer(
            request,
            "media/medium.html",
            shown=_shown(media, pages.records, jobs),
            timeline=timeline,
            conflict=_conflict(media),
            settings=feed.current(),
        )


def _shown(media: Media, records: Records, jobs: dict[UUID, JobState]) -> ShownMedium:
    return ShownMedium(media, jobs.get(media.id), records.urls_of(media))


def _conflict(media: Media) -> str | None:
    """Why a deleted medium can't be restored, as a code."""
    conflict = restore_conflict(media) if media.deleted_at is not None else None
    return conflict[0] if conflict else None


def _address(view: LibraryView, cursor: str) -> str:
    asked: dict[str, Any] = {name: value for name, value in view.values.items() if value}
    return f"{LIBRARY}?{urlencode({**asked, 'cursor': cursor})}"
