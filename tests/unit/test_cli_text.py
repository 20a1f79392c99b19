"""Nothing that the API tells steers a terminal."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from deploy.cli.output import facts_table, print_json_text, print_problem, print_shown, rows_table
from deploy.cli.terminal_text import shown, shown_json, shown_on_one_line

HOSTILE = "\x1b]0;title\x07\x1b[2J[red]x[/red]:boom:\x9b31m\u202egnp.exe\u2028\x00\r\x7f"


def is_plain(text: str) -> bool:
    return all(sign == "\n" or sign.isprintable() for sign in text)


def test_unsafe_signs_are_written_out() -> None:
    assert shown("\x1b[2J") == r"\x1b[2J"
    assert shown("a\u202eb\x9bc\udcff") == r"a\u202eb\x9bc\udcff"
    assert shown("Grüße, Привет\n\t🎉") == "Grüße, Привет\n\t🎉"
    assert shown_on_one_line("a\nb") == r"a\nb"


def test_json_says_the_same() -> None:
    text = json.dumps({"filename": HOSTILE, "plain": "é"}, ensure_ascii=False)
    assert is_plain(shown_json(text))
    assert json.loads(shown_json(text)) == json.loads(text)
    assert shown_json('{\r\n"a": 1}') == '{\r\n"a": 1}'


def test_every_way_out_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """Titles, names of facts, cells, sentences, problems; markup stays what it is: text."""
    tables = [rows_table(HOSTILE, ("name",), [(HOSTILE,), (["x", HOSTILE],)]), facts_table(HOSTILE, {HOSTILE: HOSTILE})]
    print_shown([*tables, HOSTILE])
    print_problem(HOSTILE, HOSTILE)
    print_json_text(json.dumps(HOSTILE, ensure_ascii=False))
    out, err = capsys.readouterr()
    assert is_plain(out)
    assert is_plain(err)
    for text in (out, err):
        assert "[red]x[/red]:boom:" in text


def test_a_colourful_terminal_changes_nothing() -> None:
    console = Console(force_terminal=True, width=200, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(rows_table("names", ("name",), [(HOSTILE,)]))
    assert r"\x1b]0;title\x07\x1b[2J[red]x[/red]" in captured.get()
