"""Every page that there are pictures of, and that is tested for what holds for all: whoever adds a page adds a line."""

from __future__ import annotations

from dataclasses import dataclass

from ingest_api.accounts import Role


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page as somebody of `role` sees it, or somebody who is not signed in.

    `path` may name exhibits: `/gallery/{gallery}`. The page is ready when something matches the selector `ready`.
    """

    name: str
    path: str
    role: Role | None
    ready: str


PAGES = (
    ShownPage("sign-in", "/login", None, "form[action='/login']"),
    ShownPage("api", "/docs", None, "h1"),
    ShownPage("account", "/account", Role.ADMIN, "h1"),
    ShownPage("media", "/admin/media", Role.ADMIN, ".tile img:not(.blur)"),
    ShownPage("media-deleted", "/admin/media?deleted=true", Role.ADMIN, "#library"),
    ShownPage("medium", "/admin/media/{media}", Role.ADMIN, ".preview img:not(.blur)"),
    ShownPage("events", "/admin/events", Role.ADMIN, ".event-tiles img"),
    ShownPage("event", "/admin/events/{event}", Role.ADMIN, "#photos img"),
    ShownPage("event-people", "/admin/events/{event}/people", Role.ADMIN, "#people svg.face"),
    ShownPage("event-sharing", "/admin/events/{event}/sharing", Role.ADMIN, ".links .chip.good"),
    ShownPage("event-requests", "/admin/events/{event}/requests", Role.ADMIN, "#requests .card"),
    ShownPage("event-activity", "/admin/events/{event}/activity", Role.ADMIN, ".changes .chip"),
    ShownPage("event-settings", "/admin/events/{event}/settings", Role.ADMIN, "#event-settings"),
    ShownPage("gallery", "/gallery/{gallery}", None, "#all-photos img"),
    ShownPage("sync-jobs", "/admin/media/sync", Role.SUPERADMIN, "tbody[id^='job-'] .chip.good"),
    ShownPage("sync-job", "/admin/media/sync/{sync_job}", Role.SUPERADMIN, "#job tbody .chip"),
    ShownPage("settings", "/admin/media/settings", Role.SUPERADMIN, "form#s3"),
    ShownPage("entity-type", "/admin/media/settings/entity-types/product", Role.ADMIN, "#preview rect"),
    ShownPage("operations", "/admin/ops", Role.SUPERADMIN, ".replicas"),
    ShownPage("dead-letters", "/admin/ops/dead-letters", Role.SUPERADMIN, "#letters .card"),
    ShownPage("failed-jobs", "/admin/ops/jobs", Role.SUPERADMIN, "#jobs tbody tr"),
    ShownPage("schedules", "/admin/ops/schedules", Role.SUPERADMIN, "#schedules tbody tr"),
    ShownPage("audit", "/admin/ops/audit", Role.SUPERADMIN, "#entries .card"),
    ShownPage("catalog", "/admin/catalog", Role.ADMIN, ".products img"),
    ShownPage("product", "/admin/catalog/{product}", Role.ADMIN, ".variant .tile img"),
    ShownPage("consistency", "/admin/consistency", Role.SUPERADMIN, "#report .totals"),
    ShownPage("consistency-of-product", "/admin/consistency/products/{product}", Role.ADMIN, "#report .tile img"),
    ShownPage("repair-plan", "/admin/consistency/plans/{plan}", Role.ADMIN, "#plan .tile img"),
    ShownPage("repairs", "/admin/consistency/runs", Role.ADMIN, "tbody tr"),
)
