"""The texts of the pages in each language; a language is a folder of files that say the same keys."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

DEFAULT_LANGUAGE: Final = "en"
SCRIPT_TABLE: Final = "script"
"""What stands in a file's table of this name goes to the browser too."""

PluralForm = str
Text = str | Mapping[PluralForm, str]
"""One text, or one for each plural form of its `count`."""

_FORMS: Final = frozenset({"one", "few", "many", "other"})


def _english(count: int) -> PluralForm:
    return "one" if count == 1 else "other"


def _russian(count: int) -> PluralForm:
    """The CLDR rules of whole numbers."""
    last, last_two = count % 10, count % 100
    if last == 1 and last_two != 11:
        return "one"
    if 2 <= last <= 4 and not 12 <= last_two <= 14:
        return "few"
    return "many"


LANGUAGES: Final[Mapping[str, tuple[str, Callable[[int], PluralForm]]]] = MappingProxyType(
    {"en": ("English", _english), "ru": ("Русский", _russian)}
)
"""By code: its own name, and which plural form a number takes."""


class UnknownText(LookupError):
    """A page asks for a text that its language lacks, or without a value that the text needs."""


class Texts:
    """The texts of one language, by keys like `media.upload.title`: file, tables, name."""

    def __init__(self, language: str, texts: Mapping[str, Text]) -> None:
        self.language: Final = language
        self.texts: Final = texts
        self._form_of = LANGUAGES[language][1]

    def __call__(self, key: str, **values: object) -> str:
        """The text with its `{names}` replaced; `count` also chooses the plural form. Raises UnknownText."""
        text = self.texts.get(key)
        if text is None:
            raise UnknownText(f"texts/{self.language} says nothing for {key!r}")
        if not isinstance(text, str):
            text = self._chosen(key, text, values)
        try:
            return text.format_map(values)
        except KeyError as error:
            raise UnknownText(f"{key!r} of texts/{self.language} needs the value {error}") from error

    def has(self, key: str) -> bool:
        return key in self.texts

    def script_module(self) -> bytes:
        """A JavaScript module of what scripts say, e.g. `media.paused` for `paused` in media.toml's table."""
        said = {}
        for key, text in self.texts.items():
            area, _, rest = key.partition(".")
            table, _, name = rest.partition(".")
            if table == SCRIPT_TABLE:
                said[f"{area}.{name}"] = text
        return f"export default {json.dumps(said, ensure_ascii=False, sort_keys=True)};\n".encode()

    def _chosen(self, key: str, forms: Mapping[PluralForm, str], values: Mapping[str, object]) -> str:
        count = values.get("count")
        if not isinstance(count, int):
            raise UnknownText(f"{key!r} of texts/{self.language} has plural forms and needs a whole number as `count`")
        return forms[self._form_of(abs(count))]


def load_texts(folder: Path) -> Mapping[str, Texts]:
    """The texts of every language. Raises LookupError where one lacks a key or a plural form that it needs."""
    languages = {language: Texts(language, dict(_read(folder / language))) for language in LANGUAGES}
    keys = languages[DEFAULT_LANGUAGE].texts.keys()
    for language, texts in languages.items():
        if different := sorted(keys ^ texts.texts.keys()):
            raise LookupError(f"texts/{language} and texts/{DEFAULT_LANGUAGE} differ in {', '.join(different)}")
        needed = {LANGUAGES[language][1](count) for count in range(200)}
        for key, text in texts.texts.items():
            if not isinstance(text, str) and (missing := sorted(needed - text.keys())):
                raise LookupError(f"{key} of texts/{language} lacks the plural forms {', '.join(missing)}")
    return MappingProxyType(languages)


def _read(folder: Path) -> Iterator[tuple[str, Text]]:
    for file in sorted(folder.glob("*.toml")):
        yield from _flattened(file.stem, tomllib.loads(file.read_text()))


def _flattened(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    for name, value in table.items():
        key = f"{prefix}.{name}"
        if isinstance(value, Mapping) and not _FORMS.issuperset(value):
            yield from _flattened(key, value)
        else:
            yield key, value


def preferred_language(chosen: str | None, accepted: str | None) -> str:
    """What the visitor chose, else the best of `Accept-Language` that there is, else English."""
    if chosen is not None and chosen in LANGUAGES:
        return chosen
    best, best_weight = DEFAULT_LANGUAGE, 0.0
    for part in (accepted or "").split(",")[:20]:
        tag, _, parameters = part.strip().partition(";")
        language, weight = tag.strip().lower().partition("-")[0], _weight(parameters)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
