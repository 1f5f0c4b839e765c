"""Names of others reach a terminal as letters: no control sequence, no style, no turned direction."""

import io
import sys

import pytest
from rich.table import Table
from rich.text import Text

from lexiseg.cli import main
from lexiseg.cli.doctor import Check, Doctor
from lexiseg.core.terminal import open_console, plain_output, plain_text

HOSTILE = "cat\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m\r\u202eexe[/][bold]x"


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\r", "\b", "\x7f", "\x9b", "\u202e", "\u2066", "\0"])
def test_control_characters_become_their_numbers(letter):
    shown = plain_text(f"a{letter}b")
    assert letter not in shown
    assert shown.startswith("a\\")


def test_letters_of_all_scripts_tabs_and_lines_stay():
    text = "a\tb\nصورة 猫 é 👍 [x]"
    assert plain_text(text) == text


def test_what_is_printed_is_plain_and_what_a_console_styles_keeps_its_colours(monkeypatch):
    held = io.StringIO()
    monkeypatch.setattr(sys, "stdout", held)
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, style="red"))
    with plain_output():
        print(HOSTILE)
        open_console().print(table)
        open_console(highlight=False).print(f"{HOSTILE} is [not] a style", style="bold")
    shown = held.getvalue()
    assert "\x1b[1m" in shown, "our own style"
    for sequence in ("\x1b[2J", "\x1b]52", "\x07", "\x9b", "\r", "\u202e"):
        assert sequence not in shown
    assert "[/]" in shown
    assert "[not]" in shown


def test_errors_and_tables_of_commands_show_hostile_names(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit):
        main(["score", f"/absent/{HOSTILE}"])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.err + shown.out
    assert "\\x1b[2J" in shown.err
    monkeypatch.setattr(
        "lexiseg.cli.doctor.examine", lambda: iter([Check(name=HOSTILE, state="ok", found="[/x]")])
    )
    assert Doctor().run() == 0
    assert "[/x]" in capsys.readouterr().out


@pytest.mark.parametrize("state", ["ok", "note", "bad"])
def test_what_doctor_says_to_do_can_be_copied_from_a_narrow_terminal(capsys, monkeypatch, state):
    monkeypatch.setenv("COLUMNS", "40")
    fix = "Where there is a network: lexiseg convert openai/clip-vit-base-patch16-and-more --out a-folder"
    monkeypatch.setattr(
        "lexiseg.cli.doctor.examine", lambda: iter([Check(name="weights", state=state, found="no", fix=fix)])
    )
    assert Doctor().run() == (state == "bad")
    assert f"  weights: {fix}" in capsys.readouterr().out.splitlines()
