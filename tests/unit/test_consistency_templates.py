"""Pages of consistency in every language and state: what is rarely seen has its words too."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ingest_api.controllers.schedules import DueMediaAnswer, ScheduleAnswer, ScheduleRunAnswer
from ingest_api.pages.consistency_view import COUNTS, DEEDS, CountChange, Deed, ItemView, PlanItems, RunView
from ingest_api.pages.rendering import render
from ingest_api.pages.texts import LANGUAGES
from ingest_api.repositories.reconcile_runs import Decision, ReconcileRun
from shared.events import MissedFirings, ReconcileScope, RunCounts, RunStatus, ScheduleRunStatus
from shared.identifiers import new_id

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
LANGUAGE_CODES = tuple(LANGUAGES)
WHYS = (
    "orphaned_in_bucket",
    "orphaned_on_disk",
    "missing_in_bucket",
    "missing_on_disk",
    "missing_everywhere",
    "content_differs",
    "stale_temporary",
)
ITEM_STATUSES = ("planned", "sent", "done", "failed", "skipped", "returning", "undoing", "undone", "undo_failed")


def run_of(status: RunStatus, **changes: Any) -> ReconcileRun:
    run_id = new_id()
    counts = RunCounts(
        orphaned=5, missing=1, removals=5, removal_bytes=5000, repairs=1, done=4, failed=1, undo_failed=1
    )
    values: dict[str, Any] = {
        "id": run_id,
        "plan_id": run_id,
        "version": 1,
        "scope": ReconcileScope(kind="products"),
        "status": status,
        "remove_orphaned": True,
        "recreate_missing": True,
        "counts": counts,
        "result": None,
        "needs_approval_because": None,
        "error": None,
        "requested_by": new_id(),
        "decided_by": None,
        "requested_at": NOW,
        "changed_at": NOW,
    }
    return ReconcileRun(**values | changes)


def plan_page(language: str, run: ReconcileRun, items: PlanItems, decisions: tuple[Decision, ...] = ()) -> str:
    context = {
        "view": RunView(run, None, "admin@example.test", None),
        "run": run,
        "items": items,
        "after": -1,
        "decisions": [(one, None) for one in decisions],
    }
    html = render(language, "consistency/plan.html", "plan", context)
    assert html is not None
    return html


@pytest.mark.parametrize("language", LANGUAGE_CODES)
@pytest.mark.parametrize("status", RunStatus)
def test_every_state_of_a_plan_has_its_words_and_its_decisions(language: str, status: RunStatus) -> None:
    run = run_of(status)
    html = plan_page(language, run, PlanItems())
    offered = {what for what in ("approve", "discard", "undo") if f"/plans/{run.id}/{what}" in html}
    expected: set[str] = {"approve", "discard"} if status is RunStatus.AWAITING_APPROVAL else set()
    if status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.PARTLY_UNDONE):
        expected = {"undo"}
    assert offered == expected
    is_under_way = status in (RunStatus.COMPARING, RunStatus.EXECUTING, RunStatus.UNDOING)
    assert ("data-under-way" in html) is is_under_way


@pytest.mark.parametrize("language", LANGUAGE_CODES)
def test_everything_a_plan_may_do_has_its_words(language: str) -> None:
    places = [(what, WHYS[number % len(WHYS)]) for number, what in enumerate(DEEDS)]
    views = [
        ItemView(
            str(new_id()), what, why, "products/x/a.jpg", 1, ITEM_STATUSES[number], "in_change", "a reason", None, None
        )
        for number, (what, why) in enumerate([*places, places[0]])
    ]
    items = PlanItems(
        views=views,
        deeds=[Deed(what, count, 10, 1, 1) for count, what in enumerate(DEEDS, start=1)],
        changes=[CountChange(name, 3, 1) for name in COUNTS],
        total=len(views),
    )
    run = run_of(RunStatus.COMPLETED)
    decisions = tuple(Decision(run.id, what, None, NOW) for what in ("start", "approve", "discard", "undo"))
    html = plan_page(language, run, items, decisions)
    assert html.count('<li class="tile') == len(views)
    assert html.count({"en": "a reason", "ru": "Товар как раз меняют"}[language]) == len(views)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (RunStatus.FAILED, "comparison_broke_off: the store went away", "Сравнение оборвалось"),
        (RunStatus.COMPLETED, "items_not_done: 1 of 2 (changed 1)", "Некоторые пункты плана не выполнены"),
        (RunStatus.PARTLY_UNDONE, "items_not_undone: 2 of 2 (conflict 2)", "2 пункта вернуть не удалось"),
        (RunStatus.PARTLY_UNDONE, "given_up: after 3 attempts", "После нескольких неудачных попыток"),
    ],
)
def test_why_a_run_failed_is_said_with_the_words_of_reconciler_below(status: RunStatus, error: str, words: str) -> None:
    run = run_of(status, error=error, counts=RunCounts(undo_failed=2))
    html = plan_page("ru", run, PlanItems())
    assert words in html
    assert f'lang="en">{error}</p>' in html
    assert html.count(error.partition(": ")[2]) == 1
    assert error.partition(": ")[2] in plan_page("en", run, PlanItems())


@pytest.mark.parametrize("language", LANGUAGE_CODES)
def test_what_can_not_be_undone_any_more_is_not_offered(language: str) -> None:
    html = plan_page(language, run_of(RunStatus.COMPLETED), PlanItems(is_expired=True))
    assert "/undo" not in html


def test_the_guard_is_told_of_where_it_holds_a_plan() -> None:
    held = run_of(RunStatus.AWAITING_APPROVAL, needs_approval_because="21 of 30 files or records would be removed")
    read = run_of(
        RunStatus.AWAITING_APPROVAL, needs_approval_because="whoever asked for the plan wants to read it first"
    )
    assert "a person has to look first" in plan_page("en", held, PlanItems())
    assert "a person has to look first" not in plan_page("en", read, PlanItems())


def schedule(name: str, status: ScheduleRunStatus | None) -> ScheduleAnswer:
    run = None
    if status is not None:
        run = ScheduleRunAnswer(
            id=new_id(),
            schedule=name,
            trigger="clock",
            status=status,
            due_at=NOW,
            missed=0,
            started_at=NOW,
            ended_at=None,
            answer_by=None,
            counts={},
            answers=[],
            owing=[],
            needs_approval_because="2000 of 2100 media would go",
            detail=None,
            requested_by=None,
            decided_by=None,
        )
    return ScheduleAnswer(name, "0 2 * * *", "UTC", MissedFirings.RUN_ONCE, status is None, [NOW], NOW, run)


@pytest.mark.parametrize("language", LANGUAGE_CODES)
@pytest.mark.parametrize("status", [*ScheduleRunStatus, None])
def test_schedules_have_their_words_in_every_state(language: str, status: ScheduleRunStatus | None) -> None:
    schedules = {"nightly": schedule("reconcile.nightly", status), "purge": schedule("media.purge", status)}
    assert render(language, "consistency/overview.html", "nightly", {"schedules": schedules})
    answer = DueMediaAnswer(NOW, 30, status is None, 2, 6, 5000, 10, None, [])
    medium = SimpleNamespace(title=None, filename='"><b>.jpg')
    due = {"answer": answer, "tiles": [(medium, "/media/x/thumb?v=1"), (medium, None)]}
    html = render(language, "consistency/overview.html", "due", {"schedules": schedules, "due": due})
    assert html is not None
    assert html.count("<li>") == 2
    assert "<b>" not in html
    assert ("/approve" in html) is (status is ScheduleRunStatus.WAITING_FOR_APPROVAL)
