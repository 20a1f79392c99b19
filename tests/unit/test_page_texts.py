"""The texts of the pages: the same keys in every language, plural forms, and which language a visitor gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from ingest_api.bucket_trial import TrialCode
from ingest_api.field_faults import FAULTS
from ingest_api.pages import rendering
from ingest_api.pages.assets import Assets
from ingest_api.pages.failures import Told, failure_text, told, told_whole
from ingest_api.pages.rendering import TEXTS, render
from ingest_api.pages.texts import LANGUAGES, Texts, UnknownText, load_texts, preferred_language
from ingest_api.problem_details import CODES, Problem
from reconciler.report import PROBLEMS
from shared.db.queries import load_queries
from shared.events import RunCounts
from tests.failure_codes import FailureCodes, failure_codes

ROOT = Path(__file__).parent.parent.parent
SOURCES = [file.read_text() for place in ("services", "shared") for file in sorted((ROOT / place).rglob("*.py"))]
LEDGER = ROOT / "services/cleanup-scheduler/cleanup_scheduler/queries/ledger.sql"
ANSWERED = {"event_not_searchable", "no_face_in_selfie", "no_such_face", "selfie_unreadable", "unknown_event"}
"""Why face-embedder does not search: ingest-api refuses its callers with codes of its own."""
FORM = re.compile(r"<form\b(?:\{\{.*?\}\}|\{%.*?%\}|[^>])*>", re.DOTALL)


@pytest.fixture(scope="module")
def codes() -> FailureCodes:
    return failure_codes()


def test_every_language_says_everything() -> None:
    assert TEXTS.keys() == LANGUAGES.keys()
    assert TEXTS["en"]("common.save") == "Save"
    assert TEXTS["ru"]("common.save") == "Сохранить"


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 файлов"), (1, "1 файл"), (3, "3 файла"), (11, "11 файлов"), (22, "22 файла"), (101, "101 файл")],
)
def test_numbers_take_their_plural_form(count: int, said: str) -> None:
    texts = Texts("ru", {"a.files": {"one": "{count} файл", "few": "{count} файла", "many": "{count} файлов"}})
    assert texts("a.files", count=count) == said


def test_what_is_not_said_is_told_by_its_key() -> None:
    with pytest.raises(UnknownText, match=r"common\.absent"):
        TEXTS["en"]("common.absent")
    texts = Texts("en", {"a.hello": "Hello {name}"})
    with pytest.raises(UnknownText, match="name"):
        texts("a.hello")


def test_a_language_that_lacks_a_text_or_a_plural_form_is_refused(tmp_path: Path) -> None:
    for language, text in (("en", 'one = "1"\ntwo = "2"\n'), ("ru", 'one = "1"\n')):
        (tmp_path / language).mkdir()
        (tmp_path / language / "a.toml").write_text(text)
    with pytest.raises(LookupError, match=r"a\.two"):
        load_texts(tmp_path)
    (tmp_path / "en" / "a.toml").write_text('files = { one = "{count} file", other = "{count} files" }\n')
    (tmp_path / "ru" / "a.toml").write_text('files = { one = "{count} файл", other = "{count} файлов" }\n')
    with pytest.raises(LookupError, match="few, many"):
        load_texts(tmp_path)


def test_scripts_get_their_own_texts_alone() -> None:
    module = TEXTS["en"].script_module().decode()
    assert module.startswith("export default {")
    assert '"common.cancel": "Cancel"' in module
    assert "common.skip" not in module


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        ("ru", "en", "ru"),
        ("xx", None, "en"),
        (None, "de, ru;q=0.8, en;q=0.9", "en"),
        (None, "ru-RU", "ru"),
        (None, "en;q=nonsense, ru;q=0.1", "ru"),
        (None, ";;,,=", "en"),
    ],
)
def test_the_visitor_gets_the_best_language_that_there_is(
    chosen: str | None, accepted: str | None, language: str
) -> None:
    assert preferred_language(chosen, accepted) == language


def test_one_changed_file_changes_the_version_of_all() -> None:
    one, other = Assets({"a.css": b"a", "b.js": b"b"}), Assets({"a.css": b"a", "b.js": b"c"})
    assert one.version != other.version
    assert one.find(one.version, "a.css") is not None
    assert one.find(other.version, "a.css") is None
    with pytest.raises(KeyError, match="no asset"):
        one.address("absent.js")


def test_scripts_import_only_what_there_is() -> None:
    folder = Path(rendering.__file__).parent.parent / "static"
    scripts = sorted(folder.rglob("*.js"))
    assert scripts
    for script in scripts:
        for imported in re.findall(r'(?:from|import) "(\.[^"]+)"', script.read_text()):
            assert (script.parent / imported).is_file(), f"{script} imports {imported}"


def test_no_form_sends_anything_by_itself_that_a_script_should_send() -> None:
    """A browser in which the scripts do not run yet would put a PIN or a password into an address."""
    forms = [
        (file, tag)
        for file in sorted((Path(rendering.__file__).parent.parent / "templates").rglob("*.html"))
        for tag in FORM.findall(file.read_text())
    ]
    assert len(forms) > 50
    for file, tag in forms:
        method = re.search(r' method="(\w+)"', tag)
        assert method, f"{file}: {tag}"
        # What a browser sends itself goes to a page, and no script is to send it.
        is_sent_by_script = re.search(r' action="(?!/api/)', tag) is None or re.search(r" data-(api|change)=", tag)
        assert method[1] == "dialog" if is_sent_by_script else method[1] in ("get", "post"), f"{file}: {tag}"


def test_a_block_can_be_rendered_alone_and_only_if_it_is_a_part() -> None:
    context = {"problem": Problem(404, "not_found", "<b>"), "trace_id": None}
    part = render("en", "problem.html", "problem", context)
    assert part is not None
    assert part.strip().endswith('<p role="alert">&lt;b&gt;</p>')
    assert render("en", "problem.html", "body", context) is None


def test_every_refusal_is_said_in_every_language() -> None:
    for texts in TEXTS.values():
        said = {area: table_of(texts, area) for area in ("problems", "faults")}
        assert said == {"problems": set(CODES), "faults": FAULTS}
    for code, title in CODES.items():
        assert TEXTS["ru"](f"problems.script.{code}") != title
        page = render("ru", "problem.html", "problem", {"problem": Problem(400, code, "in English"), "trace_id": None})
        assert page is not None
        assert f"<h1>{TEXTS['ru'](f'problems.script.{code}')}</h1>" in page


def test_every_failure_of_a_service_is_said_in_every_language(codes: FailureCodes) -> None:
    said = table_of(TEXTS["ru"], "failures")
    away = {f"{dependency}_away" for dependency in codes.away}
    compared = {kind.value for kind in PROBLEMS}
    assert (codes.raised | codes.told | away | compared) - said - set(CODES) - ANSWERED == set()
    # What nobody tells is not said either.
    known = codes.raised | codes.told | away | compared
    assert [code for code in sorted(said - known) if not any(f'"{code}"' in source for source in SOURCES)] == []
    assert not [source for source in SOURCES if re.search(r'Problem\(\s*409,\s*"conflict"', source)], (
        "a Conflict has a reason"
    )
    for code in said:
        assert failure_text(TEXTS["ru"], code, "In English.") == TEXTS["ru"](f"failures.script.{code}")
        assert failure_text(TEXTS["en"], code, "In English.") == "In English"
        assert failure_text(TEXTS["en"], code, None) == TEXTS["en"](f"failures.script.{code}")


def test_what_the_clock_has_done_is_counted_in_every_language(codes: FailureCodes) -> None:
    purged = set(re.findall(r" AS (\w+)", load_queries(LEDGER)["outcome"]))
    pruned = {"outbox_rows", "inbox_rows"}
    said = {
        key.removeprefix("operations.counted.") for key in TEXTS["ru"].texts if key.startswith("operations.counted.")
    }
    assert said == codes.counted | set(RunCounts.model_fields) | purged | pruned


def test_what_a_service_lacks_is_said_in_every_language(codes: FailureCodes) -> None:
    said = {key.removeprefix("operations.lacks.") for key in TEXTS["ru"].texts if key.startswith("operations.lacks.")}
    assert said == codes.needed


def test_every_outcome_of_a_trial_of_the_bucket_is_said_in_every_language() -> None:
    trials = {key.removeprefix("trial_") for key in table_of(TEXTS["ru"], "settings") if key.startswith("trial_")}
    assert trials == set(get_args(TrialCode))


def test_a_failure_without_words_of_the_page_is_told_in_those_of_the_service() -> None:
    russian = TEXTS["ru"]
    assert failure_text(russian, "brand_new", "It broke.") == "It broke"
    assert failure_text(russian, "brand_new", None) == "brand_new"
    assert failure_text(russian, "broken_archive", "It broke.") == russian("problems.script.broken_archive")
    assert told(russian, "brand_new", "It broke.") == Told("It broke", is_of_service=True)
    assert told_whole(russian, "Oops: it broke.") == Told("Oops: it broke.", is_of_service=True)


def test_what_a_service_says_is_kept_beside_the_words_of_another_language() -> None:
    russian, words = TEXTS["ru"], TEXTS["ru"]("failures.script.some_failed")
    assert told(russian, "some_failed", "See below.") == Told(words, original="See below.")
    assert told(russian, "some_failed", None) == Told(words)
    assert told_whole(russian, "some_failed: see below") == Told(words, original="some_failed: see below")
    assert told_whole(russian, "some_failed") == Told(words)
    assert told_whole(TEXTS["en"], "some_failed: see below") == Told("see below")


def table_of(texts: Texts, area: str) -> set[str]:
    """What its scripts say."""
    return {key.removeprefix(f"{area}.script.") for key in texts.texts if key.startswith(f"{area}.script.")}
