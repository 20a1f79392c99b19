"""Style sheets, scripts and icons over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get
from litestar.params import FromPath, HeaderParameter

from ingest_api.pages.assets import PREFIX
from ingest_api.pages.rendering import ASSETS
from ingest_api.problem_details import Problem

_HEADERS = {
    # The address carries a hash of all assets.
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


class AssetController(Controller):
    include_in_schema = False
    path = PREFIX

    @get("/{version:str}/{asset:path}")
    async def asset(
        self,
        version: FromPath[str],
        asset: FromPath[str],
        encodings: Annotated[str, HeaderParameter(name="accept-encoding")] = "",
    ) -> Response[bytes]:
        found = ASSETS.find(version, str(asset).removeprefix("/"))
        if found is None:
            raise Problem(404, "not_found", "There is no such asset in this version: reload the page.")
        if "gzip" in encodings:
            return Response(found.packed, media_type=found.media_type, headers={**_HEADERS, "Content-Encoding": "gzip"})
        return Response(found.content, media_type=found.media_type, headers=_HEADERS)
