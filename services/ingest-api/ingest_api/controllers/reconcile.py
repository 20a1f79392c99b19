"""How bucket, disk and records compare, and repairs of what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ingest_api.accounts import Role
from ingest_api.authentication import SignedInRequest, require
from ingest_api.cursors import MAX_LIMIT, cursor_behind, id_of
from ingest_api.problem_details import FieldError, InvalidFields
from ingest_api.reconciling import DecisionName, Reconciling, outcome_of
from ingest_api.repositories.reconcile_runs import Decision, ReconcileRun, ReconcileRunRepository
from shared.db.pool import Database
from shared.events import ReconcileScope, RunStatus

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
RUNS = "/admin/reconcile/runs"


class ProductSyncAnswer(msgspec.Struct, rename="camel"):
    """Keys in the bucket. Orphaned: no record names it; missing: a record does, and it is not there.

    `productId` is null for keys of no product. With `truncated` the lists were too long for one answer: they are empty
    here, and `GET /admin/reconcile/reports/{reportId}` has them, page by page.
    """

    product_id: UUID | None
    orphaned_files: list[str]
    missing_files: list[str]
    synced_files: list[str]
    errors: list[str]
    truncated: bool | msgspec.UnsetType = msgspec.UNSET
    report_id: UUID | msgspec.UnsetType = msgspec.UNSET
    parts: int | msgspec.UnsetType = msgspec.UNSET


class ProductsSyncAnswer(msgspec.Struct, rename="camel"):
    """Counts over all products, and the files of each; `truncated` as of one product."""

    total_products: int
    total_images: int
    orphaned_files: int
    missing_files: int
    synced_files: int
    errors: int
    results: list[ProductSyncAnswer]
    truncated: bool | msgspec.UnsetType = msgspec.UNSET
    report_id: UUID | msgspec.UnsetType = msgspec.UNSET
    parts: int | msgspec.UnsetType = msgspec.UNSET


class ReportPartAnswer(msgspec.Struct, rename="camel"):
    """Files by product; one that goes on in the next part has an entry in each. `next` is null on the last part."""

    results: list[ProductSyncAnswer]
    next: int | None


class FixBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """removeOrphaned: what no record names goes into quarantine, where `undo` finds it for 7 days. recreateMissing:
    objects get records from their paths, lost objects come back from the disk, and records of what is gone for good go.
    Both: first what parses gets its record, then what does not goes."""

    remove_orphaned: bool = False
    recreate_missing: bool = False


class StartRunBody(FixBody, rename="camel", forbid_unknown_fields=True):
    """`approve` false: the plan waits to be read."""

    scope: Literal["product", "products", "media"] = "products"
    product_id: UUID | None = None
    approve: bool = False


class UnderWay(msgspec.Struct, rename="camel"):
    """The fix goes on; `jobId` is the run to follow."""

    success: bool
    job_id: UUID
    status: str
    message: str


class DecisionAnswer(msgspec.Struct, rename="camel"):
    decision: Literal["start", "approve", "discard", "undo"]
    decided_by: UUID | None
    decided_at: datetime


class RunAnswer(msgspec.Struct, rename="camel"):
    """A comparison and what became of its plan. `requestedBy` is null for the nightly clock.

    Where the `result` is `truncated`, its lists are at `GET /admin/reconcile/reports/{reportId}`.
    """

    id: UUID
    plan_id: UUID | None
    scope: str
    product_id: UUID | None
    status: RunStatus
    remove_orphaned: bool
    recreate_missing: bool
    counts: dict[str, int]
    result: dict[str, Any] | None
    needs_approval_because: str | None
    error: str | None
    requested_by: UUID | None
    decided_by: UUID | None
    requested_at: datetime
    changed_at: datetime
    decisions: list[DecisionAnswer]


class RunList(msgspec.Struct, rename="camel"):
    runs: list[RunAnswer]
    next_cursor: str | None


class PlanItemAnswer(msgspec.Struct, rename="camel"):
    """One repair: what is wanted, why, and what became of it."""

    id: UUID
    action: str
    why: str
    key: str
    place: str
    size_bytes: int
    status: str
    code: str | None
    detail: str | None


class PlanGroupAnswer(msgspec.Struct, rename="camel"):
    """Items of a plan that are alike, counted."""

    action: str
    why: str
    place: str
    status: str
    items: int
    size_bytes: int


class PlanFilesAnswer(msgspec.Struct, rename="camel"):
    """Files of which a plan wants something; `done` of them have come to it. Others than synced ones are gone then."""

    why: str
    becomes_synced: bool
    files: int
    done: int


class PlanSummaryAnswer(msgspec.Struct, rename="camel"):
    """What a whole plan comes to. `isExpired`: quarantine has ended for something of it, and with it undo."""

    groups: list[PlanGroupAnswer]
    files: list[PlanFilesAnswer]
    is_expired: bool


class PlanAnswer(msgspec.Struct, rename="camel"):
    """`summary` is there without `after` alone."""

    run: RunAnswer
    items: list[PlanItemAnswer]
    next: int | None
    summary: PlanSummaryAnswer | None = None


class ProductSyncController(Controller):
    """Compares the bucket with the records of product images, and repairs what differs."""

    path = "/admin/products"
    tags = ("Product consistency",)
    guards = (require(Role.ADMIN),)

    @get("/{product_id:uuid}/images/sync/check", summary="Check one product")
    async def check_product(
        self, product_id: FromPath[UUID], reconciling: NamedDependency[Reconciling]
    ) -> ProductSyncAnswer:
        """Changes nothing. What is being changed right now is in no list."""
        scope = ReconcileScope(kind="product", product_id=product_id)
        return msgspec.convert(await reconciling.check(scope), ProductSyncAnswer)

    @get("/sync/check-all", summary="Check all products")
    async def check_all(self, reconciling: NamedDependency[Reconciling]) -> ProductsSyncAnswer:
        """Changes nothing. `results` has an entry per product, and one for each folder that belongs to none."""
        return msgspec.convert(await reconciling.check(ReconcileScope(kind="products")), ProductsSyncAnswer)

    @post("/{product_id:uuid}/images/sync", summary="Fix one product", status_code=200)
    async def fix_product(
        self,
        request: SignedInRequest,
        product_id: FromPath[UUID],
        data: JSONBody[FixBody],
        reconciling: NamedDependency[Reconciling],
    ) -> Response[ProductSyncAnswer | UnderWay]:
        """How the product stands after the fix. 202 with a job when it takes longer; 409 with `planId` when so much
        would be removed that a person has to approve first: then nothing was changed."""
        scope = ReconcileScope(kind="product", product_id=product_id)
        result = await _fixed(request, scope, data, reconciling)
        return _answered(result, ProductSyncAnswer)

    @post("/sync/sync-all", summary="Fix all products", status_code=200)
    async def fix_all(
        self, request: SignedInRequest, data: JSONBody[FixBody], reconciling: NamedDependency[Reconciling]
    ) -> Response[ProductsSyncAnswer | UnderWay]:
        """How all products stand after the fix; 202 and 409 as for one."""
        result = await _fixed(request, ReconcileScope(kind="products"), data, reconciling)
        return _answered(result, ProductsSyncAnswer)


class ReconcileController(Controller):
    """Comparisons, their plans, and who decided what about them."""

    path = "/admin/reconcile"
    tags = ("Product consistency",)
    guards = (require(Role.ADMIN),)

    @get("/runs", summary="List runs")
    async def list_runs(
        self, database: NamedDependency[Database], limit: Limit = 20, cursor: FromQuery[str | None] = None
    ) -> RunList:
        """Newest first. `nextCursor` is null on the last page."""
        async with database.connection() as connection:
            repository = ReconcileRunRepository(connection)
            runs = await repository.newest(id_of(cursor), limit + 1)
            page = runs[:limit]
            decisions = await repository.decisions([run.id for run in page])
        answers = [_run_answer(run, decisions[run.id]) for run in page]
        return RunList(answers, cursor_behind(runs, limit))

    @post("/runs", summary="Compare, and plan repairs", status_code=200)
    async def start_run(
        self,
        request: SignedInRequest,
        data: JSONBody[StartRunBody],
        reconciling: NamedDependency[Reconciling],
        database: NamedDependency[Database],
    ) -> Response[RunAnswer]:
        """Unless `approve` is true the plan waits to be read and approved. 202 while it is under way."""
        if (data.scope == "product") != (data.product_id is not None):
            raise InvalidFields(FieldError("productId", "goes with the scope product, and with no other"))
        run = await reconciling.start(
            ReconcileScope(kind=data.scope, product_id=data.product_id),
            remove_orphaned=data.remove_orphaned,
            recreate_missing=data.recreate_missing,
            approves=data.approve,
            user_id=request.user.user_id,
        )
        return _run_response(await _with_decisions(run, database))

    @get("/runs/{run_id:uuid}", summary="Read a run")
    async def read_run(
        self, run_id: FromPath[UUID], reconciling: NamedDependency[Reconciling], database: NamedDependency[Database]
    ) -> RunAnswer:
        return await _with_decisions(await reconciling.run(run_id), database)

    @get("/reports/{report_id:uuid}", summary="Read the files of a long report")
    async def read_report(
        self,
        report_id: FromPath[UUID],
        reconciling: NamedDependency[Reconciling],
        part: Annotated[int, QueryParameter(ge=0)] = 0,
    ) -> ReportPartAnswer:
        """The lists that an answer or the `result` of a run was too small for. `next` goes into `part` for more.

        Kept as long as the run, those of a check for an hour.
        """
        return msgspec.convert(await reconciling.report_part(report_id, part), ReportPartAnswer)

    @get("/plans/{plan_id:uuid}", summary="Read a plan")
    async def read_plan(
        self,
        plan_id: FromPath[UUID],
        reconciling: NamedDependency[Reconciling],
        database: NamedDependency[Database],
        limit: Limit = 100,
        after: Annotated[int, QueryParameter(ge=-1)] = -1,
    ) -> PlanAnswer:
        """What it wants done and why, and what became of it. `next` goes into `after` for more; null: there is none."""
        run = await _with_decisions(await reconciling.run(plan_id), database)
        body = await reconciling.plan_items(plan_id, after, limit)
        return msgspec.convert({"run": run, **body}, PlanAnswer)

    @post("/plans/{plan_id:uuid}/approve", summary="Carry a waiting plan out", status_code=200)
    async def approve(
        self,
        request: SignedInRequest,
        plan_id: FromPath[UUID],
        reconciling: NamedDependency[Reconciling],
        database: NamedDependency[Database],
    ) -> Response[RunAnswer]:
        """Every item is looked at again before it is done: nothing that a record names by now is touched."""
        return await _decided(request, plan_id, "approve", reconciling, database)

    @post("/plans/{plan_id:uuid}/discard", summary="Discard a waiting plan", status_code=200)
    async def discard(
        self,
        request: SignedInRequest,
        plan_id: FromPath[UUID],
        reconciling: NamedDependency[Reconciling],
        database: NamedDependency[Database],
    ) -> Response[RunAnswer]:
        return await _decided(request, plan_id, "discard", reconciling, database)

    @post("/plans/{plan_id:uuid}/undo", summary="Undo a plan", status_code=200)
    async def undo(
        self,
        request: SignedInRequest,
        plan_id: FromPath[UUID],
        reconciling: NamedDependency[Reconciling],
        database: NamedDependency[Database],
    ) -> Response[RunAnswer]:
        """Brings files back from quarantine, and records; what is there now is never overwritten by it."""
        return await _decided(request, plan_id, "undo", reconciling, database)


async def _fixed(
    request: SignedInRequest, scope: ReconcileScope, data: FixBody, reconciling: Reconciling
) -> dict[str, Any] | UnderWay:
    run = await reconciling.start(
        scope,
        remove_orphaned=data.remove_orphaned,
        recreate_missing=data.recreate_missing,
        approves=True,
        user_id=request.user.user_id,
    )
    message = f"The fix goes on; follow it at {RUNS}/{run.id}."
    if (outcome := outcome_of(run)) is not None:
        return await reconciling.whole(outcome)
    return UnderWay(True, run.id, run.status.value, message)


def _answered(result: dict[str, Any] | UnderWay, answer: Any) -> Response[Any]:
    if isinstance(result, UnderWay):
        return Response(result, status_code=202, headers={"Location": f"{RUNS}/{result.job_id}"})
    return Response(msgspec.convert(result, answer))


async def _decided(
    request: SignedInRequest, plan_id: UUID, decision: DecisionName, reconciling: Reconciling, database: Database
) -> Response[RunAnswer]:
    run = await reconciling.decide(plan_id, decision, request.user.user_id)
    return _run_response(await _with_decisions(run, database))


async def _with_decisions(run: ReconcileRun, database: Database) -> RunAnswer:
    async with database.connection() as connection:
        decisions = await ReconcileRunRepository(connection).decisions([run.id])
    return _run_answer(run, decisions[run.id])


def _run_response(run: RunAnswer) -> Response[RunAnswer]:
    is_under_way = run.status in {RunStatus.COMPARING, RunStatus.EXECUTING, RunStatus.UNDOING}
    return Response(run, status_code=202 if is_under_way else 200, headers={"Location": f"{RUNS}/{run.id}"})


def _run_answer(run: ReconcileRun, decisions: Sequence[Decision]) -> RunAnswer:
    values = {name: value for name, value in asdict(run).items() if name not in {"scope", "counts", "version"}}
    return RunAnswer(
        **values,
        scope=run.scope.kind,
        product_id=run.scope.product_id,
        counts={_camel(name): count for name, count in run.counts.model_dump().items()},
        decisions=[
            DecisionAnswer(one.decision, one.decided_by, one.decided_at)  # type: ignore[arg-type]
            for one in decisions
        ],
    )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
