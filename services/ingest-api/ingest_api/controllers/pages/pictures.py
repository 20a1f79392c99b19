"""Recent pictures, newest first."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.catalogue import Records
from ingest_api.cursors import encode_cursor, id_of
from ingest_api.pages.page import PageController, Pages
from ingest_api.pictures import Picture, any_unfinished
from ingest_api.repositories.pictures import PictureRepository
from ingest_api.sign_in import SignIn

PICTURES_PER_PAGE = 24


class PicturesController(PageController):
    @get("/pictures", guards=[require(Role.PHOTOGRAPHER)])
    async def pictures(
        self,
        request: SignedInRequest,
        sign_in: NamedDependency[SignIn],
        pages: NamedDependency[Pages],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        """One's own for a photographer, everyone's for an admin."""
        principal = request.user
        uploaded_by = None if principal.may(Role.ADMIN) else principal.user_id
        async with sign_in.database.connection() as connection:
            found = await PictureRepository(connection).recent(id_of(cursor), uploaded_by, PICTURES_PER_PAGE + 1)
        shown = found[:PICTURES_PER_PAGE]
        return pages.answer(
            request,
            "pictures.html",
            pictures=shown,
            addresses={picture.id: _addresses(picture, pages.records) for picture in shown},
            is_first_page=cursor is None,
            next_cursor=encode_cursor(str(shown[-1].id)) if len(found) > len(shown) else None,
            refresh=any_unfinished(shown),
        )


def _addresses(picture: Picture, records: Records) -> dict[str, str]:
    """Where each file of a picture is read, by its name."""
    names = [file.name for file in picture.variants]
    return records.urls(picture.id, picture.revision, names, private=picture.private)
