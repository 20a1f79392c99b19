"""How bucket, disk and records compare: checks, plans to read before anything is done, and what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.catalogue import Media, Records
from ingest_api.controllers.schedules import DueMediaAnswer, schedule_answer
from ingest_api.cursors import cursor_behind, id_of
from ingest_api.pages.catalog_view import image_address
from ingest_api.pages.consistency_view import (
    FileShown,
    PlanItems,
    RunView,
    Standing,
    count_changes,
    deeds,
    item_views,
    page_address,
    product_of,
    standings,
)
from ingest_api.pages.page import FRAGMENT_PARAMETER, PageController, Pages
from ingest_api.pages.previews import OBJECTS_PATH, SHOWN_PREFIXES, Previews
from ingest_api.problem_details import Problem
from ingest_api.products import ProductImage, ProductRecords
from ingest_api.reconciling import Reconciling, no_such_product
from ingest_api.repositories.accounts import AccountRepository
from ingest_api.repositories.media import MediaRepository
from ingest_api.repositories.products import ProductRepository
from ingest_api.repositories.reconcile_runs import ReconcileRun, ReconcileRunRepository
from ingest_api.repositories.schedules import ScheduleRepository
from ingest_api.scheduling import Scheduling
from shared.db.pool import Database
from shared.events import ReconcileScope, RunStatus
from shared.scheduling import MEDIA_PURGE, RECONCILE_NIGHTLY
from shared.storage.errors import InvalidKey
from shared.storage.keys import validated
from shared.storage.stores import Stores

HOME = "/admin/consistency"
RUNS_PER_PAGE = 30
RECENT_RUNS = 5
WAITING_RUNS = 10
FIRST_STANDINGS = 15
STANDINGS_SHOWN = 300
"""Of products, those that differ first; the further ones are behind a fold."""
FILES_SHOWN = 200
SYNCED_SHOWN = 24
ITEMS_PER_PAGE = 50
DUE_SHOWN = 12
PLAN_SECONDS = 8.0
"""A page waits no longer for a plan's items: everything else of it is there without them."""
PRESIGNED_SECONDS = 900


class ConsistencyPages(PageController):
    path = HOME
    guards = (require(Role.ADMIN),)

    @get()
    async def overview(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        reconciling: NamedDependency[Reconciling],
        scheduling: NamedDependency[Scheduling],
        records: NamedDependency[Records],
    ) -> Response[str]:
        """The comparison itself is the part `report`, which the page asks for when it is shown."""
        part = request.query_params.get(FRAGMENT_PARAMETER)
        sees_schedules = request.user.may(Role.SUPERADMIN)
        async with database.connection() as connection:
            runs = ReconcileRunRepository(connection)
            recent, waiting = await runs.newest(None, RECENT_RUNS), await runs.waiting(WAITING_RUNS)
        views = await _run_views([*recent, *waiting], database)
        return pages.answer(
            request,
            "consistency/overview.html",
            recent=views[: len(recent)],
            waiting=views[len(recent) :],
            report=await _report_of_all(reconciling, database) if part == "report" else None,
            first_standings=FIRST_STANDINGS,
            standings_shown=STANDINGS_SHOWN,
            schedules=await _schedules(database) if sees_schedules else None,
            due=await _due(scheduling, database, records) if sees_schedules and part == "due" else None,
        )

    @get("/products/{product_id:uuid}")
    async def product(
        self,
        request: SignedInRequest,
        product_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        reconciling: NamedDependency[Reconciling],
        stores: NamedDependency[Stores],
    ) -> Response[str]:
        """The files of one product; the part `report` is the comparison."""
        async with database.connection() as connection:
            products = ProductRepository(connection)
            name = (await products.names([product_id])).get(product_id)
            images = await products.images([product_id])
        if name is None:
            raise no_such_product()
        is_asked = request.query_params.get(FRAGMENT_PARAMETER) == "report"
        return pages.answer(
            request,
            "consistency/product.html",
            product_id=product_id,
            name=name,
            report=await _report_of_one(product_id, name, images, reconciling, stores) if is_asked else None,
        )

    @get("/runs")
    async def runs(
        self,
        request: SignedInRequest,
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        async with database.connection() as connection:
            found = await ReconcileRunRepository(connection).newest(id_of(cursor), RUNS_PER_PAGE + 1)
        shown = found[:RUNS_PER_PAGE]
        behind = cursor_behind(found, RUNS_PER_PAGE)
        return pages.answer(
            request,
            "consistency/runs.html",
            runs=await _run_views(shown, database),
            is_first_page=cursor is None,
            older=f"{HOME}/runs?cursor={behind}" if behind else None,
        )

    @get("/plans/{plan_id:uuid}")
    async def plan(
        self,
        request: SignedInRequest,
        plan_id: FromPath[UUID],
        pages: NamedDependency[Pages],
        database: NamedDependency[Database],
        reconciling: NamedDependency[Reconciling],
        stores: NamedDependency[Stores],
        after: Annotated[int, QueryParameter(ge=-1)] = -1,
    ) -> Response[str]:
        """What is wanted and why, what it comes to, and what became of it. Without reconciler its items are missing."""
        run = await reconciling.run(plan_id)
        (view,) = await _run_views([run], database)
        async with database.connection() as connection:
            decisions = (await ReconcileRunRepository(connection).decisions([plan_id]))[plan_id]
            deciders = {one.decided_by for one in decisions if one.decided_by}
            emails = await AccountRepository(connection).emails(deciders)
        has_items = run.status is not RunStatus.COMPARING and run.plan_id is not None
        items = await _plan_items(run, after, reconciling, stores, database) if has_items else PlanItems()
        return pages.answer(
            request,
            "consistency/plan.html",
            view=view,
            run=run,
            decisions=[(one, emails.get(one.decided_by) if one.decided_by else None) for one in decisions],
            items=items,
            after=after,
        )

    @get(OBJECTS_PATH.removeprefix(HOME))
    async def read_object(
        self,
        stores: NamedDependency[Stores],
        key: Annotated[str, QueryParameter(min_length=1, max_length=1024)],
    ) -> Redirect:
        """A redirect to an object of the bucket, for pictures of what no record names."""
        if stores.bucket is None or not key.startswith(SHOWN_PREFIXES):
            raise Problem(404, "not_found", "There is no such picture.")
        try:
            address = stores.bucket.presigned_get(validated(key), expires_in_seconds=PRESIGNED_SECONDS)
        except InvalidKey as error:
            raise Problem(404, "not_found", "There is no such picture.") from error
        return Redirect(address, headers={"Cache-Control": "private, max-age=600", "Referrer-Policy": "no-referrer"})


# --- comparisons ------------------------------------------------------------------------------------------------------


async def _report_of_all(reconciling: Reconciling, database: Database) -> dict[str, Any]:
    body = await reconciling.check(ReconcileScope(kind="products"))
    ids = [UUID(entry["productId"]) for entry in body["results"] if entry["productId"]]
    async with database.connection() as connection:
        names = await ProductRepository(connection).names(ids)
    found = await asyncio.to_thread(standings, body["results"], names)
    return {"body": body, "standings": found, "is_truncated": bool(body.get("truncated"))}


async def _report_of_one(
    product_id: UUID, name: str, images: Sequence[ProductImage], reconciling: Reconciling, stores: Stores
) -> dict[str, Any]:
    body = await reconciling.check(ReconcileScope(kind="product", product_id=product_id))
    previews = Previews(has_bucket=stores.bucket is not None)
    records = ProductRecords(stores.bucket)
    pictures = {image.file.object_key: image_address(image, records) for image in images if not image.is_hidden}
    standing: Standing = standings([body], {product_id: name})[0]
    return {
        "standing": standing,
        "orphaned": [FileShown(key, previews.of_object(key)) for key in standing.orphaned[:FILES_SHOWN]],
        "missing": [FileShown(key, None) for key in standing.missing[:FILES_SHOWN]],
        "synced": [FileShown(key, pictures.get(key)) for key in body["syncedFiles"][:SYNCED_SHOWN]],
        "is_truncated": bool(body.get("truncated")),
    }


# --- runs and plans ---------------------------------------------------------------------------------------------------


async def _run_views(runs: Sequence[ReconcileRun], database: Database) -> list[RunView]:
    people = {person for run in runs for person in (run.requested_by, run.decided_by) if person}
    product_ids = {run.scope.product_id for run in runs if run.scope.product_id}
    async with database.connection() as connection:
        emails = await AccountRepository(connection).emails(people)
        names = await ProductRepository(connection).names(list(product_ids))
    return [
        RunView(
            run,
            names.get(run.scope.product_id) if run.scope.product_id else None,
            emails.get(run.requested_by) if run.requested_by else None,
            emails.get(run.decided_by) if run.decided_by else None,
        )
        for run in runs
    ]


async def _plan_items(
    run: ReconcileRun, after: int, reconciling: Reconciling, stores: Stores, database: Database
) -> PlanItems:
    try:
        first = await reconciling.plan_items(
            run.id, -1, ITEMS_PER_PAGE if after < 0 else 1, within_seconds=PLAN_SECONDS
        )
        shown = first if after < 0 else await reconciling.plan_items(run.id, after, ITEMS_PER_PAGE)
    except Problem as problem:
        if problem.status != 503:
            raise
        return PlanItems(problem=problem.detail)
    summary = first["summary"]
    previews = Previews(has_bucket=stores.bucket is not None and not summary["isExpired"])
    owners = {owner for item in shown["items"] if (owner := product_of(item["key"])) is not None}
    async with database.connection() as connection:
        names = await ProductRepository(connection).names(list(owners))
    return PlanItems(
        views=item_views(shown["items"], run.id, previews, names),
        deeds=deeds(summary["groups"]),
        changes=count_changes(run.counts, summary["files"], run.status),
        total=sum(group["items"] for group in summary["groups"]),
        is_expired=summary["isExpired"],
        previous=page_address(run.id, max(after - ITEMS_PER_PAGE, -1)) if after >= 0 else None,
        next=page_address(run.id, shown["next"]) if shown["next"] is not None else None,
    )


# --- the clock --------------------------------------------------------------------------------------------------------


async def _schedules(database: Database) -> dict[str, Any]:
    """The nightly run, and the purge; each is None while the clock has told of none."""
    async with database.connection() as connection:
        repository = ScheduleRepository(connection)
        nightly, purge = await repository.get(RECONCILE_NIGHTLY), await repository.get(MEDIA_PURGE)
        last_runs = await repository.last_runs([RECONCILE_NIGHTLY, MEDIA_PURGE])
    return {
        "nightly": schedule_answer(nightly, last_runs.get(RECONCILE_NIGHTLY)) if nightly else None,
        "purge": schedule_answer(purge, last_runs.get(MEDIA_PURGE)) if purge else None,
    }


async def _due(scheduling: Scheduling, database: Database, records: Records) -> dict[str, Any]:
    """What the next purge takes, and pictures of the first of it."""
    answer = msgspec.convert(await scheduling.due_media(None, None, DUE_SHOWN), DueMediaAnswer)
    async with database.connection() as connection:
        repository = MediaRepository(connection)
        media = [await repository.get(item.media_id) for item in answer.items]
    return {"answer": answer, "tiles": [(one, _thumbnail(one, records)) for one in media if one is not None]}


def _thumbnail(media: Media, records: Records) -> str | None:
    urls = records.urls_of(media)
    smallest = min(media.variants, key=lambda file: file.width_px, default=None)
    return urls[smallest.name] if smallest else None
