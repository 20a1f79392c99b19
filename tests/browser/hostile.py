"""Names as somebody gives them who wants to run scripts in an admin's browser, or to have one word read as another."""

from __future__ import annotations

from dataclasses import fields

from tests.browser.exhibits import Names

_BREAKER = (
    "\"'><x-hostile data-hostile=1 onmouseover=alert(1)><img src=x onerror=alert(1)><script>alert(1)</script>"
    "</textarea></title>{{7*7}}${7*7} javascript:alert(1) \u202egpj.exe"
)
"""What stands behind U+202E is read from right to left."""

_FILE_BREAKER = "'><x-hostile data-hostile=1><img src=x onerror=alert(1)>{{7*7}}.jpg"
"""Without slashes, which part folders, and without what names of files lose on their way."""


def word_of(kind: str) -> str:
    """What every name of this kind begins with; what names of files are made of it has no space."""
    return f"hostile {kind}"


HOSTILE = Names(
    **{
        field.name: f"{word_of(field.name)} {_FILE_BREAKER if field.name == 'file' else _BREAKER}"
        for field in fields(Names)
    }
)
