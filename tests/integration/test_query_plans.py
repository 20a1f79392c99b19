"""The statements that run most often, or over the largest tables, as PostgreSQL means to run them.

Their texts are read from where the services have them. Each is planned as often as it takes PostgreSQL to settle for
one plan for all parameters, if it ever does, so that both kinds are looked at.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from ingest_api.media_filters import MediaFilter
from ingest_api.repositories.media import MediaRepository
from shared.db.migrations import ROOT
from shared.db.pool import Database
from shared.db.queries import load_queries
from shared.db.schemas import SCHEMAS
from shared.identifiers import new_id
from shared.testing.databases import TestDatabase, TestDatabases
from tests.generated_rows import fill

ROWS = 12_000
FEW_ROWS = 2_000
"""What may be sorted; tables up to this size may be read as a whole."""
PLANNED_TIMES = 7
"""PostgreSQL plans five times with the parameters before it considers a plan without."""

FILLED = {
    "ingest-api": (
        "ingest_media",
        "ingest_jobs",
        "ingest_notices",
        "ingest_event_photos",
        "ingest_dead_letters",
        "ingest_bulk_jobs",
        "ingest_account_changes",
        "ingest_notice_streams",
        "ingest_sync_jobs",
        "kernel_outbox",
        "kernel_inbox",
    ),
    "s3-syncer": ("sync_media", "sync_jobs", "sync_superseded"),
    "reconciler": ("reconcile_media", "reconcile_files"),
    "cleanup-scheduler": ("cleanup_media",),
}
FACES = ("faces_events", "faces_photos", "faces_faces")
FACE_ROWS = 400

INGEST = "services/ingest-api/ingest_api/queries"
SYNC = "services/s3-syncer/s3_syncer"
RECONCILE = "services/reconciler/reconciler/queries"
FACE = "services/face-embedder/face_embedder/queries"
CLEANUP = "services/cleanup-scheduler/cleanup_scheduler/queries"
OUTBOX = "shared/outbox/queries.sql"
MEDIUM = "'{medium}'"
MEDIA = f"ARRAY[{MEDIUM}::uuid]"
BEGIN = f"{MEDIA}, {MEDIA}, true, 'requested', NULL, NULL, false, '{{{{}}}}'"
PREVIEW = "'{photographed}', 'events/1/previews/4711'"
SELFIE = "'[' || repeat('0.1,', 511) || '0.1]'"
FACES_OF_EVENT = frozenset({"faces_event"})
NO_FILTER = "NULL, NULL, NULL, NULL"
LAST = "'ffffffff-ffff-ffff-ffff-ffffffffffff'"
NOW = "now() + interval '1 day'"


@dataclass(frozen=True, slots=True)
class Hot:
    """One statement with its parameters as SQL, and the indexes of which at least one must say where to look.

    `walks`: it is enough to walk along the index, whose order or whose condition of its own is what is wanted.
    `generic`: the statement runs in a session that plans without parameters.
    """

    service: str
    file: str
    name: str
    parameters: str
    indexes: frozenset[str]
    title: str = ""
    walks: bool = False
    generic: bool = False

    def __str__(self) -> str:
        return f"{self.service}-{self.name}{'-' if self.title else ''}{self.title}"


def _media(title: str, parameters: str, *indexes: str, walks: bool = False) -> Hot:
    return Hot("ingest-api", f"{INGEST}/media.sql", "list_media", parameters, frozenset(indexes), title, walks)


def _page(title: str, parameters: str, *indexes: str) -> Hot:
    """A page of all media that match: behind one id, up to another, and no further than a window reaches."""
    bounds = f"{MEDIUM}, {LAST}, {LAST}"
    return Hot(
        "ingest-api", f"{INGEST}/matching.sql", "page", f"{bounds}, {parameters}, 100", frozenset(indexes), title
    )


HOT = [
    _media("first", f"NULL, {NO_FILTER}, false, NULL, 51, NULL", "media_pkey", walks=True),
    _media("deep", f"{MEDIUM}, {NO_FILTER}, false, NULL, 51, NULL", "media_pkey"),
    _media("rare_type", "NULL, 'rare', NULL, NULL, NULL, false, NULL, 51, NULL", "media_of_entity"),
    _media(
        "entity",
        f"{MEDIUM}, 'product', '4712', NULL, NULL, false, NULL, 51, NULL",
        "media_of_entity",
        "media_of_entity_id",
    ),
    _media("entity_id", "NULL, NULL, '4712', NULL, NULL, false, NULL, 51, NULL", "media_of_entity_id"),
    _media("failed", "NULL, NULL, NULL, 'failed', NULL, false, NULL, 51, NULL", "media_unfinished"),
    _media("missing", "NULL, NULL, NULL, NULL, 'missing', false, NULL, 51, NULL", "media_by_storage"),
    _media("no_such_storage", f"{MEDIUM}, NULL, NULL, NULL, 's3_only', false, NULL, 51, NULL", "media_by_storage"),
    _media("deleted", f"NULL, {NO_FILTER}, true, NULL, 51, NULL", "media_deleted", walks=True),
    _media("deleted_deep", f"{MEDIUM}, {NO_FILTER}, true, NULL, 51, NULL", "media_deleted"),
    _media("q_rare", f"NULL, {NO_FILTER}, false, '%00004711%', 51, '00004711'", "media_by_pieces"),
    _media("q_common", f"NULL, {NO_FILTER}, false, '%img%', 51, 'img'", "media_pkey", walks=True),
    _page("everything", f"NULL, NULL, NULL, '{{{{}}}}', NULL, false, NULL, {NOW}, false", "media_pkey"),
    _page("rare_type", f"'rare', NULL, NULL, '{{{{}}}}', NULL, false, NULL, {NOW}, false", "media_of_entity"),
    _page("entity_id", f"NULL, '4712', NULL, '{{{{}}}}', NULL, false, NULL, {NOW}, false", "media_of_entity_id"),
    _page("failed", f"NULL, NULL, 'failed', '{{{{}}}}', NULL, false, NULL, {NOW}, true", "media_unfinished"),
    _page(
        "missing",
        f"NULL, NULL, NULL, '{{{{failed}}}}', 'missing', false, NULL, {NOW}, true",
        "media_by_storage",
        "media_pkey",
    ),
    _page("deleted", f"NULL, NULL, NULL, '{{{{}}}}', NULL, true, NULL, {NOW}, false", "media_deleted", "media_pkey"),
    _page("q_rare", f"NULL, NULL, NULL, '{{{{}}}}', NULL, false, '%00004711%', {NOW}, true", "media_pkey"),
    Hot(
        "ingest-api",
        f"{INGEST}/matching.sql",
        "window_end",
        f"{MEDIUM}, {LAST}, NULL, NULL, NULL, '{{{{}}}}', NULL, false, 1000",
        frozenset({"media_pkey"}),
    ),
    Hot(
        "ingest-api",
        f"{INGEST}/matching.sql",
        "count",
        f"{LAST}, NULL, NULL, NULL, '{{{{}}}}', NULL, false, '%00004711%', '00004711', 1000001",
        frozenset({"media_by_pieces"}),
        "q_rare",
    ),
    Hot("ingest-api", f"{INGEST}/jobs.sql", "job", MEDIUM, frozenset({"jobs_pkey"})),
    Hot("ingest-api", f"{INGEST}/jobs.sql", "list_jobs", "NULL, 'failed', 51", frozenset({"jobs_by_status"}), "failed"),
    Hot(
        "ingest-api",
        f"{INGEST}/jobs.sql",
        "list_jobs",
        f"{MEDIUM}, 'completed', 51",
        frozenset({"jobs_by_status", "jobs_pkey"}),
        "deep",
    ),
    Hot("ingest-api", f"{INGEST}/jobs.sql", "remove_completed", "86400, 1000, 20", frozenset({"jobs_finished"})),
    Hot(
        "ingest-api",
        f"{INGEST}/jobs.sql",
        "remove_failed",
        "86400, 20",
        frozenset({"jobs_finished", "jobs_by_status"}),
    ),
    Hot(
        "ingest-api",
        f"{INGEST}/jobs.sql",
        "remove_cancelled",
        "86400, 20",
        frozenset({"jobs_finished", "jobs_by_status"}),
    ),
    Hot(
        "ingest-api", f"{INGEST}/uploads.sql", "pending_uploads", "500", frozenset({"jobs_pending_uploads"}), walks=True
    ),
    Hot("ingest-api", f"{INGEST}/notices.sql", "after", "'{uploader}', 10, 100", frozenset({"notices_pkey"})),
    Hot("ingest-api", f"{INGEST}/notices.sql", "prune", "1e9, 500", frozenset({"notices_by_time"})),
    Hot(
        "ingest-api",
        f"{INGEST}/dead_letters.sql",
        "remove_of_media",
        f"ARRAY[{MEDIUM}], ARRAY['image.discarded.v1']",
        frozenset({"dead_letters_of_medium"}),
    ),
    Hot(
        "ingest-api",
        f"{INGEST}/bulk_jobs.sql",
        "old_parents",
        "86400, now() - interval '2 days', '{stranger}', 20, 200",
        frozenset({"bulk_jobs_by_time"}),
    ),
    Hot(
        "ingest-api", f"{INGEST}/accounts.sql", "remove_old_changes", "1e9, 500", frozenset({"account_changes_by_time"})
    ),
    Hot(
        "ingest-api",
        f"{INGEST}/media_library.sql",
        "newest_jobs",
        f"ARRAY[{MEDIUM}, '{{stranger}}']::uuid[]",
        frozenset({"jobs_of_medium"}),
    ),
    Hot(
        "ingest-api",
        f"{INGEST}/media_library.sql",
        "entity_types",
        "50",
        frozenset({"media_of_entity"}),
        walks=True,
    ),
    Hot(
        "ingest-api",
        f"{INGEST}/photo_uploads.sql",
        "known_photos",
        f"{PREVIEW}, 'events/1/originals/4711'",
        frozenset({"event_photos_by_key"}),
    ),
    Hot(
        "ingest-api",
        f"{INGEST}/photo_uploads.sql",
        "photo_id",
        f"{PREVIEW}, 'events/1/originals/4711.jpg'",
        frozenset({"event_photos_by_key"}),
        generic=True,
    ),
    Hot("ingest-api", f"{INGEST}/sync_jobs.sql", "newest", "NULL, 21", frozenset({"sync_jobs_roots"}), walks=True),
    Hot(
        "ingest-api",
        f"{INGEST}/sync_jobs.sql",
        "families",
        "ARRAY['{storage_job}'::uuid], -1, 50",
        frozenset({"sync_jobs_children_in_order"}),
    ),
    Hot("ingest-api", f"{INGEST}/media_deletions.sql", "complete", f"'[]', {MEDIA}", frozenset({"media_pkey"})),
    Hot("ingest-api", f"{INGEST}/media_deletions.sql", "stored_keys", MEDIA, frozenset({"media_pkey"})),
    Hot("ingest-api", f"{INGEST}/media_deletions.sql", "renderings", MEDIA, frozenset({"jobs_of_medium"})),
    Hot("ingest-api", f"{INGEST}/media_deletions.sql", "begin", BEGIN, frozenset({"media_pkey"})),
    Hot("ingest-api", OUTBOX, "turn", "500, '{{}}', '{{}}'", frozenset({"outbox_unsent"}), walks=True, generic=True),
    Hot("ingest-api", OUTBOX, "prune_outbox", "1e9, 5000", frozenset({"outbox_sent"})),
    Hot(
        "ingest-api", OUTBOX, "is_claimed", "'ingest-api', '/mediabus/image-processor', 'x'", frozenset({"inbox_pkey"})
    ),
    Hot("ingest-api", OUTBOX, "prune_inbox", "1e9, 5000", frozenset({"inbox_claimed"})),
    Hot(
        "s3-syncer",
        f"{SYNC}/queries.sql",
        "filtered_page",
        f"'product', '47', 'stored', {MEDIUM}, 100",
        frozenset({"media_entity"}),
    ),
    Hot(
        "s3-syncer", f"{SYNC}/queries.sql", "cancel_children", "'{sync_parent}'", frozenset({"jobs_parent"}), "children"
    ),
    Hot("s3-syncer", f"{SYNC}/superseded.sql", "due", "100", frozenset({"superseded_due"})),
    Hot(
        "reconciler",
        f"{RECONCILE}/read_models.sql",
        "is_referenced",
        "'media/x', false, NULL",
        frozenset({"media_files_by_key"}),
    ),
    Hot("reconciler", f"{RECONCILE}/read_models.sql", "supersede_files", MEDIUM, frozenset({"media_files_pkey"})),
    Hot(
        "cleanup-scheduler",
        f"{CLEANUP}/ledger.sql",
        "due_media",
        "now() - interval '10 days', 100",
        frozenset({"media_deleted"}),
    ),
    Hot(
        "cleanup-scheduler",
        f"{CLEANUP}/ledger.sql",
        "take",
        "now() - interval '10 days', '{uploader}', 100",
        frozenset({"media_due"}),
    ),
    Hot(
        "face-embedder",
        f"{FACE}/faces.sql",
        "are_more_than",
        "'{event}', 'lite', '1', 1000",
        frozenset({"faces_event"}),
    ),
    Hot("face-embedder", f"{FACE}/faces.sql", "exact", f"'{{event}}', 'lite', '1', {SELFIE}, 0.5, 10", FACES_OF_EVENT),
]


@pytest.fixture(scope="module")
async def filled(databases: TestDatabases) -> AsyncIterator[TestDatabase]:
    made = await databases.create()
    for service, names in FILLED.items():
        connection = await asyncpg.connect(made.dsn(service))
        await fill(connection, names, ROWS)
        await connection.close()
    connection = await asyncpg.connect(made.dsn("face-embedder"))
    await fill(connection, FACES, FACE_ROWS)
    await connection.close()
    yield made
    await databases.drop(made)


@pytest.fixture(scope="module")
async def known(filled: TestDatabase) -> dict[str, str]:
    """Ids that parameters name."""
    admin = await asyncpg.connect(filled.admin_dsn)
    row = await admin.fetchrow(
        "SELECT (SELECT id FROM ingest.media ORDER BY id OFFSET 6000 LIMIT 1) AS medium, "
        "(SELECT uploaded_by FROM ingest.media LIMIT 1) AS uploader, gen_random_uuid() AS stranger, "
        "(SELECT job_id FROM sync.jobs WHERE is_parent ORDER BY job_id OFFSET 100 LIMIT 1) AS sync_parent, "
        "(SELECT id FROM ingest.sync_jobs WHERE is_parent LIMIT 1) AS storage_job, "
        "(SELECT event_id FROM ingest.event_photos LIMIT 1) AS photographed, "
        "(SELECT event_id FROM faces.events LIMIT 1) AS event"
    )
    await admin.close()
    assert row is not None
    return {name: str(value) for name, value in row.items()}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


@pytest.mark.parametrize("hot", HOT, ids=str)
async def test_hot_statements_are_run_by_index(hot: Hot, filled: TestDatabase, known: dict[str, str]) -> None:
    statement = load_queries(ROOT / hot.file)[hot.name]
    connection = await asyncpg.connect(filled.dsn(hot.service), statement_cache_size=0)
    try:
        if hot.generic:
            await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE hot AS {statement}")
        explain = f"EXPLAIN (FORMAT JSON) EXECUTE hot ({hot.parameters.format_map(known)})"
        plans = [json.loads(await connection.fetchval(explain))[0]["Plan"] for _ in range(PLANNED_TIMES)]
        large = {
            row["relname"]
            for row in await connection.fetch(
                "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND reltuples > $2",
                SCHEMAS[hot.service],
                float(FEW_ROWS),
            )
        }
    finally:
        await connection.close()
    for plan in (plans[0], plans[-1]):
        nodes = list(_nodes(plan))
        told = json.dumps(plan, indent=1)
        whole = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
        assert not large & set(whole), f"{whole} are read as a whole:\n{told}"
        sorted_rows = [node["Plan Rows"] for node in nodes if node["Node Type"] in ("Sort", "Incremental Sort")]
        assert max(sorted_rows, default=0) <= FEW_ROWS, f"{sorted_rows} rows are sorted:\n{told}"
        used = {node["Index Name"] for node in nodes if "Index Name" in node and (hot.walks or "Index Cond" in node)}
        assert used & hot.indexes, f"{sorted(used)} instead of {sorted(hot.indexes)}:\n{told}"


async def few_rows_are_looked_at(connection: asyncpg.Connection[Any], statement: str) -> None:
    for _ in range(PLANNED_TIMES):
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {statement}"))[0]["Plan"]
        rows = max(node["Actual Rows"] * node["Actual Loops"] for node in _nodes(plan))
        assert rows <= 2 * 20, f"{rows} of {FEW_ROWS} items are looked at:\n{json.dumps(plan, indent=1)}"


async def test_a_parent_of_many_is_read_without_looking_at_its_items(database: TestDatabase) -> None:
    statements = load_queries(ROOT / f"{INGEST}/bulk_jobs.sql")
    connection = await asyncpg.connect(database.dsn("ingest-api"))
    try:
        await fill(connection, ("ingest_media", "ingest_jobs", "ingest_bulk_jobs", "ingest_bulk_items"), FEW_ROWS)
        parent_id = await connection.fetchval("SELECT bulk_id FROM bulk_items LIMIT 1")
        for name in ("rerender_job", "settled_job"):
            await connection.execute(f"PREPARE {name} AS {statements[name]}")
            await few_rows_are_looked_at(connection, f"{name} ('{parent_id}', 20)")
        # So are those that are looked through to be removed, a part at a time.
        await connection.execute("UPDATE bulk_jobs SET created_at = '2020-01-01' WHERE id = $1", parent_id)
        for name, parameters in (
            ("old_parents", "86400, NULL, NULL, 5, 20"),
            ("older_items", f"'{parent_id}', 1000, 20"),
            ("remove_items", f"'{parent_id}', 20"),
        ):
            await connection.execute(f"PREPARE {name} AS {statements[name]}")
            await few_rows_are_looked_at(connection, f"{name} ({parameters})")
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("äpfel", True),
        ("Fel im", True),
        ("ÄP", True),
        ("%_s", True),
        ("APFEL", False),
        ("100__s", False),
        ("korb100", False),
    ],
)
async def test_texts_are_found_anywhere_in_what_is_searched(filled: TestDatabase, text: str, is_found: bool) -> None:
    database = Database(filled.dsn("ingest-api"), application_name="test", max_connections=1)
    try:
        async with database.connection() as connection, connection.transaction():
            medium = await connection.fetchval(
                "INSERT INTO media (id, filename, mime_type, size_bytes, sha256, entity_type, uploaded_by, alt, title, "
                "storage_strategy) VALUES ($1, 'x.jpg', 'image/jpeg', 1, '', 'product', $1, '100%_sure', "
                "'Äpfel im Korb', 'both') RETURNING id",
                new_id(),
            )
            found = await MediaRepository(connection).newest(MediaFilter(text=text), None, 10)
            assert (medium in [one.id for one in found]) is is_found
            await connection.execute("DELETE FROM media WHERE id = $1", medium)
    finally:
        await database.close()


async def test_progress_of_a_job_changes_no_index(filled: TestDatabase) -> None:
    counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'jobs'"
    advance = load_queries(ROOT / INGEST / "jobs.sql")["advance"]
    connection = await asyncpg.connect(filled.dsn("ingest-api"))
    try:
        async with connection.transaction():
            job_id = await connection.fetchval("SELECT id FROM jobs WHERE status = 'active' LIMIT 1")
            await connection.execute("UPDATE jobs SET progress = 0, attempts = 1 WHERE id = $1", job_id)
            before = await connection.fetchrow(counted)
            for progress in (10, 50, 80):
                await connection.execute(advance, job_id, progress, 1, None)
            after = await connection.fetchrow(counted)
    finally:
        await connection.close()
    assert before is not None
    assert after is not None
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 3]
