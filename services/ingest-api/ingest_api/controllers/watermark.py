"""Rendering stored pictures anew, with the watermarks that their entity types have now."""

from __future__ import annotations

from uuid import UUID

import msgspec
from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.controllers.dry_run import DryAnswer, DryRun, dry_answer
from ingest_api.rerendering import Rerendering
from ingest_api.rerenders import WatermarkBody, selection_of


class RerenderAnswer(msgspec.Struct, rename="camel"):
    """202: the selection is noted, its pictures are rendered one after the other behind uploads."""

    success: bool
    status: str
    job_id: UUID
    total: int
    message: str


class WatermarkController(Controller):
    path = "/api/admin/media/watermark"
    tags = ("Media",)
    guards = (require(Role.ADMIN),)

    @post(summary="Render stored pictures anew", status_code=202)
    async def rerender(
        self,
        request: SignedInRequest,
        data: JSONBody[WatermarkBody],
        rerendering: NamedDependency[Rerendering],
        dryRun: DryRun = False,
    ) -> Response[RerenderAnswer | DryAnswer]:
        """With the variants and the watermark that each medium's entity type has now, from its original.

        Select by `mediaIds` (at most 10000), by `filter`, as for storage jobs, or by `matching`: all that the list of
        media shows under these filters at the moment of the call, up to 1000000, without failed uploads. `jobId` is a
        parent, read like that of a bulk upload. The old variants are served until all new ones of a medium are in
        place. A picture that can't be rendered fails alone and stays as it is. With `dryRun=true` the answer is 200
        with how many media it would be, and nothing is done.
        """
        selection = selection_of(data)
        if dryRun:
            return dry_answer(await rerendering.count(selection))
        started = await rerendering.start(selection, request.user.user_id)
        message = f"{started.total} pictures are rendered anew; follow the job."
        headers = {"Location": f"/api/admin/media/jobs/{started.id}"}
        return Response(
            RerenderAnswer(True, "processing", started.id, started.total, message), status_code=202, headers=headers
        )
