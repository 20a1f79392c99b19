"""`mediabus check`, `fix`, `runs` and `plans`: how bucket, disk and records compare, and repairs of what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import typer
from rich.filesize import decimal

from deploy.cli.asking import AsJson, ask, asking, show
from deploy.cli.output import Shown, counts, facts_table, moment, rows_table
from deploy.cli.paging import Cursor, Limit, given, titled
from deploy.cli.problems import ExitCode
from deploy.cli.watching import DEFAULT_TIMEOUT, Timeout, WatchAsJson, watch

PRODUCTS: Final = "/admin/products"
RECONCILE: Final = "/admin/reconcile"
FILES_SHOWN: Final = 50
UNDER_WAY: Final = frozenset({"comparing", "executing", "undoing"})
ILL: Final = frozenset({"failed", "partly_undone"})

runs = typer.Typer(help="Comparisons, and what became of them.", no_args_is_help=True)
plans = typer.Typer(help="Repairs that are to be read, approved or undone.", no_args_is_help=True)

Product: TypeAlias = Annotated[
    UUID | None, typer.Argument(metavar="[PRODUCT]", help="The id of a product; without one all of them.")
]
Run: TypeAlias = Annotated[UUID, typer.Argument(metavar="RUN", help="The id of a run.")]
Plan: TypeAlias = Annotated[UUID, typer.Argument(metavar="PLAN", help="The id of a plan, which a run names.")]


def check(product: Product = None, as_json: AsJson = False) -> None:
    """Compare the bucket with the records of product images, and change nothing.

    The exit code is 4 where something is orphaned or missing, or could not be compared.
    """
    path = f"{PRODUCTS}/sync/check-all" if product is None else f"{PRODUCTS}/{product}/images/sync/check"
    with asking() as session:
        answer = session.ask("GET", path)
        show(answer, comparison, as_json=as_json)
        if not _is_clean(answer.body):
            raise typer.Exit(ExitCode.NOT_WELL)


def fix(
    product: Product = None,
    remove_orphaned: Annotated[
        bool, typer.Option("--remove-orphaned", help="What no record names goes into quarantine for 7 days.")
    ] = False,
    recreate_missing: Annotated[
        bool, typer.Option("--recreate-missing", help="Records for objects, objects from the disk; else records go.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Change nothing yet: make a plan, to be approved by `plans approve`.")
    ] = False,
    media: Annotated[bool, typer.Option("--media", help="The files of all media in place of product images.")] = False,
    as_json: AsJson = False,
) -> None:
    """Repair what differs: at once, or as a plan to read first. The exit code is 4 where something failed."""
    if not (remove_orphaned or recreate_missing):
        raise typer.BadParameter("say what to repair: --remove-orphaned, --recreate-missing or both")
    if media and product is not None:
        raise typer.BadParameter("--media is about all media, not about a product")
    wanted = {"removeOrphaned": remove_orphaned, "recreateMissing": recreate_missing}
    if plan or media:
        scope = "media" if media else "products" if product is None else "product"
        chosen = {"scope": scope, "approve": not plan} | ({} if product is None else {"productId": str(product)})
        ask("POST", f"{RECONCILE}/runs", run_facts, as_json=as_json, body=wanted | chosen)
    else:
        path = f"{PRODUCTS}/sync/sync-all" if product is None else f"{PRODUCTS}/{product}/images/sync"
        with asking() as session:
            answer = session.ask("POST", path, body=wanted)
            show(answer, comparison, as_json=as_json)
            if answer.body.get("errors"):
                raise typer.Exit(ExitCode.NOT_WELL)


@runs.command("list")
def list_runs(limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List runs, newest first."""
    ask("GET", f"{RECONCILE}/runs", run_list, as_json=as_json, params=given(limit=limit, cursor=cursor))


@runs.command("show")
def show_run(run: Run, as_json: AsJson = False) -> None:
    """Show a run, what it found, and who decided what."""
    ask("GET", f"{RECONCILE}/runs/{run}", run_facts, as_json=as_json)


@runs.command("watch")
def watch_run(run: Run, timeout: Timeout = DEFAULT_TIMEOUT, as_json: WatchAsJson = False) -> None:
    """Watch a run until it has ended, or waits for approval; the exit code is 4 where it failed."""
    watch(
        f"{RECONCILE}/runs/{run}",
        run_facts,
        has_ended=lambda body: body["status"] not in UNDER_WAY,
        is_well=lambda body: body["status"] not in ILL,
        timeout_seconds=timeout,
        as_json=as_json,
    )


@plans.command("show")
def show_plan(
    plan: Plan,
    limit: Limit = 100,
    after: Annotated[int, typer.Option(min=-1, help="Go on behind a page: its title names this.")] = -1,
    as_json: AsJson = False,
) -> None:
    """Show what a plan wants done and why, and what became of it."""
    ask("GET", f"{RECONCILE}/plans/{plan}", plan_items, as_json=as_json, params={"limit": limit, "after": after})


@plans.command()
def approve(plan: Plan, as_json: AsJson = False) -> None:
    """Carry a waiting plan out; every file is looked at again before."""
    ask("POST", f"{RECONCILE}/plans/{plan}/approve", run_facts, as_json=as_json)


@plans.command()
def discard(plan: Plan, as_json: AsJson = False) -> None:
    """Let nothing come of a waiting plan."""
    ask("POST", f"{RECONCILE}/plans/{plan}/discard", run_facts, as_json=as_json)


@plans.command()
def undo(plan: Plan, as_json: AsJson = False) -> None:
    """Bring back what a plan removed; what is there now is not overwritten."""
    ask("POST", f"{RECONCILE}/plans/{plan}/undo", run_facts, as_json=as_json)


def comparison(body: Any) -> Sequence[Shown]:
    """Of one product or of all; or of a fix that goes on."""
    if "jobId" in body:
        return [body["message"], f"mediabus runs watch {body['jobId']}"]
    if "results" not in body:
        facts = {"product": body["productId"], "synced": len(body["syncedFiles"])}
        return [facts_table("Product", facts), *_differences([body]), *_elsewhere(body)]
    names = ("totalProducts", "totalImages", "syncedFiles", "orphanedFiles", "missingFiles", "errors")
    facts = dict(
        zip(("products", "images", "synced", "orphaned", "missing", "errors"), map(body.get, names), strict=True)
    )
    return [facts_table("All products", facts), *_differences(body["results"]), *_elsewhere(body)]


def _differences(results: Sequence[Any]) -> Sequence[Shown]:
    kinds = (("orphaned", "orphanedFiles"), ("missing", "missingFiles"), ("error", "errors"))
    rows = [(kind, key) for one in results for kind, name in kinds for key in one[name]]
    if not rows:
        return []
    more = f"; {len(rows) - FILES_SHOWN:,} more with --json" if len(rows) > FILES_SHOWN else ""
    return [rows_table(f"What differs{more}", ("what", "file"), rows[:FILES_SHOWN])]


def _elsewhere(body: Any) -> Sequence[Shown]:
    """Lists that were too long for the answer."""
    return [f"The files are at {RECONCILE}/reports/{body['reportId']}."] if body.get("truncated") else []


def _is_clean(body: Any) -> bool:
    return not (body["orphanedFiles"] or body["missingFiles"] or body["errors"] or body.get("truncated"))


def run_list(body: Any) -> Sequence[Shown]:
    rows = [
        (
            f"{one['id']}\nplan {one['planId']}" if one["planId"] else one["id"],
            f"{one['scope']}\n{one['productId'] or ''}",
            one["status"].replace("_", " "),
            f"{moment(one['requestedAt'])}\n{moment(one['changedAt'])}",
            counts(one["counts"]),
        )
        for one in body["runs"]
    ]
    return [rows_table(titled("Runs, newest first", body), ("run", "of", "status", "begun, changed", "found"), rows)]


def run_facts(body: Any) -> Sequence[Shown]:
    wishes = [name for name in ("removeOrphaned", "recreateMissing") if body[name]]
    facts = {
        "plan": body["planId"],
        "of": f"{body['scope']} {body['productId'] or ''}",
        "status": body["status"].replace("_", " "),
        "wanted": ", ".join(wishes) or "only to compare",
        "found": counts(body["counts"]),
        "waits because": body["needsApprovalBecause"] if _waits(body) else None,
        "error": body["error"],
        "begun": moment(body["requestedAt"]),
        "changed": moment(body["changedAt"]),
        "decided": "\n".join(f"{one['decision']} {moment(one['decidedAt'])}" for one in body["decisions"]),
    }
    advice = [f"mediabus plans {what} {body['planId']}" for what in ("show", "approve", "discard")]
    return [facts_table(f"Run {body['id']}", facts), *(advice if _waits(body) else [])]


def _waits(run: Any) -> bool:
    return bool(run["status"] == "awaiting_approval")


def plan_items(body: Any) -> Sequence[Shown]:
    rows = [
        (one["action"], one["key"], one["place"], one["sizeBytes"], one["why"], one["status"], one["detail"])
        for one in body["items"]
    ]
    following = "" if body["next"] is None else f" (further ones: --after {body['next']})"
    columns = ("what", "file", "place", "bytes", "why", "status", "detail")
    return [*run_facts(body["run"]), *_summed_up(body["summary"]), rows_table(f"Repairs{following}", columns, rows)]


def _summed_up(summary: Any) -> Sequence[Shown]:
    """What the whole plan comes to, where its first page is read."""
    if summary is None:
        return []
    groups = [
        (one["action"], one["place"], one["why"], one["status"], one["items"], decimal(one["sizeBytes"]))
        for one in summary["groups"]
    ]
    expired = ["It can't be undone whole any more: quarantine has ended."] if summary["isExpired"] else []
    columns = ("what", "place", "why", "status", "files", "size")
    return [*([rows_table("In all", columns, groups)] if groups else []), *expired]
