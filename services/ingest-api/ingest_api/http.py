"""The HTTP application, made of its parts."""

from __future__ import annotations

from typing import Any, cast

from litestar import Litestar
from litestar.di import Provide

from ingest_api.catalogue import Records
from ingest_api.controllers.jobs import JobController
from ingest_api.controllers.media import MediaController
from ingest_api.job_retry import JobRetry
from ingest_api.outcome_wait import OutcomeWait
from ingest_api.settings import IngestSettings
from ingest_api.sign_in import SignIn
from ingest_api.sign_in_plugin import SignInPlugin
from ingest_api.tracing_middleware import traced
from ingest_api.uploads import Uploads
from shared.db.pool import Database
from shared.telemetry.http import PATHS, AsgiApp, Receive, Scope, Send

LARGEST_JSON_BYTES = 1024 * 1024


def create_app(
    sign_in: SignIn,
    *,
    settings: IngestSettings,
    database: Database,
    uploads: Uploads,
    outcome_wait: OutcomeWait,
    job_retry: JobRetry,
    records: Records,
) -> Litestar:
    """Everything below /api, /docs, /media and the pages."""
    parts: dict[str, Any] = {
        "settings": settings,
        "database": database,
        "uploads": uploads,
        "outcome_wait": outcome_wait,
        "job_retry": job_retry,
        "records": records,
    }
    return Litestar(
        route_handlers=[JobController, MediaController],
        dependencies={name: _provide(part) for name, part in parts.items()},
        plugins=[SignInPlugin(sign_in)],
        request_max_body_size=LARGEST_JSON_BYTES,
        logging_config=None,
    )


def _provide(part: Any) -> Provide:
    return Provide(lambda: part, use_cache=True, sync_to_thread=False)


def with_operations(app: Litestar, operations: AsgiApp) -> AsgiApp:
    """The operator's pages beside the application, without sign-in and without spans."""
    serve = traced(cast(AsgiApp, app))

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_operation = scope["type"] == "http" and scope["path"] in PATHS
        await (operations if is_operation else serve)(scope, receive, send)

    return dispatch
