"""Templates of ours, rendered here: whole pages, and the parts of them that scripts ask for anew."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ingest_api.pages.assets import Assets, files_below
from ingest_api.pages.failures import failure_text, told, told_whole
from ingest_api.pages.formats import duration_in_words, number_in_words, size_in_words, time_in_words
from ingest_api.pages.texts import LANGUAGES, Texts, load_texts

_FOLDER: Final = Path(__file__).parent.parent
FRAGMENT_PREFIX: Final = "fragment_"
"""A template's blocks of these names can be asked for alone."""

TEXTS: Final = load_texts(_FOLDER / "texts")
ASSETS: Final = Assets(
    files_below(_FOLDER / "static")
    | {f"texts/{language}.js": texts.script_module() for language, texts in TEXTS.items()}
)


def _environment(texts: Texts) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": size_in_words,
        "number": number_in_words,
        "time_text": time_in_words,
        "duration": duration_in_words,
    }
    environment.globals |= {
        "t": texts,
        "failure": partial(failure_text, texts),
        "told": partial(told, texts),
        "told_whole": partial(told_whole, texts),
        "asset": ASSETS.address,
        "assets_below": ASSETS.below,
        "language": texts.language,
        "languages": [(code, name) for code, (name, _) in LANGUAGES.items()],
    }
    # The parts that pages are made of stand in every template, blocks that are rendered alone included.
    environment.globals["ui"] = environment.get_template("components.html").module
    return environment


_ENVIRONMENTS: Final[Mapping[str, Environment]] = {language: _environment(texts) for language, texts in TEXTS.items()}


def render(language: str, template: str, fragment: str | None, context: Mapping[str, Any]) -> str | None:
    """The page, or its block `fragment_<fragment>` alone; None where the template has no such block.

    A name that the template needs and the context lacks raises UndefinedError.
    """
    found = _ENVIRONMENTS[language].get_template(template)
    if fragment is None:
        return found.render(context)
    block = found.blocks.get(FRAGMENT_PREFIX + fragment)
    return None if block is None else "".join(block(found.new_context(dict(context))))
