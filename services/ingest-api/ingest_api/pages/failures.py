"""Why a job, a file or a photo failed, in the words of a page's language: the services themselves speak English."""

from __future__ import annotations

from typing import Final

from ingest_api.pages.texts import Texts

LANGUAGE_OF_SERVICES: Final = "en"
FAILURES: Final = "failures.script"
REFUSALS: Final = "problems.script"


def failure_text(texts: Texts, code: str | None, detail: str | None) -> str:
    """Without a full stop. Of codes that the pages have no words for, what the service says."""
    words = next((texts(key) for area in (FAILURES, REFUSALS) if texts.has(key := f"{area}.{code}")), None)
    if words is None or (texts.language == LANGUAGE_OF_SERVICES and detail):
        words = detail or code or ""
    return words.removesuffix(".")


def told_failure_text(texts: Texts, told: str) -> str:
    """The same of a failure told in one piece, as `code: detail`."""
    code, _, detail = told.partition(": ")
    return failure_text(texts, code, detail) if texts.has(f"{FAILURES}.{code}") else told
