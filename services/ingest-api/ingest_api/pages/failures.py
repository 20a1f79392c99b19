"""Why something failed, in the words of a page's language: the services themselves speak English."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ingest_api.pages.texts import Texts

LANGUAGE_OF_SERVICES: Final = "en"
FAILURES: Final = "failures.script"
REFUSALS: Final = "problems.script"


def failure_text(texts: Texts, code: str | None, detail: str | None) -> str:
    """Without a full stop. Of codes that the pages have no words for, what the service says."""
    return told(texts, code, detail).words


@dataclass(frozen=True, slots=True)
class Told:
    """A failure as a page tells it: `words` without a full stop, in the page's language unless `is_of_service`.

    `original` is what the service says, where the words say it in another language: logs are searched by it.
    """

    words: str
    is_of_service: bool = False
    original: str | None = None


def told(texts: Texts, code: str | None, detail: str | None) -> Told:
    """A failure by its code and the sentence of the service, either of which may be absent."""
    key = next((key for area in (FAILURES, REFUSALS) if texts.has(key := f"{area}.{code}")), None)
    if key is None:
        return Told((detail or code or "").removesuffix("."), is_of_service=True)
    if texts.language == LANGUAGE_OF_SERVICES:
        return Told((detail or texts(key)).removesuffix("."))
    return Told(texts(key).removesuffix("."), original=detail or None)


def told_whole(texts: Texts, text: str) -> Told:
    """A failure that is told in one piece, as `code: sentence` or as a code alone."""
    code, _, detail = text.partition(": ")
    if not texts.has(f"{FAILURES}.{code}"):
        return Told(text, is_of_service=True)
    failure = told(texts, code, detail)
    return replace(failure, original=text) if failure.original else failure
