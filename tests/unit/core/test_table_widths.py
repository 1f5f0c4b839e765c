import io
import re

import pytest
from rich.table import Table

from lexiseg.core import terminal

HEADS = ("protocol", "IoU %", "95 % over images", "classes", "averaged as", "pixels %")


def printed(table: Table, width: int, monkeypatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    monkeypatch.setattr(terminal.sys, "stdout", stream)
    terminal.open_console().print(table)
    return stream.getvalue().splitlines()


def build(heads, rows, numbers=()):
    table = Table(title="a title", highlight=False)
    for head in heads:
        table.add_column(head, justify="right" if head in numbers else "left")
    for row in rows:
        table.add_row(*row)
    return table


LONG = "without-background-of-published-splits"
TABLES = {
    "fits": build(("a", "b"), [("1", "2")]),
    "long texts": build(("name", "source"), [("x", "a sentence of many words " * 8)]),
    "numbers": build(
        HEADS, [(LONG, "12.3", "10.0 to 14.9", "19 of 20", "occurs or predicted", "45.6")], HEADS[1:4]
    ),
    "long words": build(("path", "seconds"), [("/" + "folder/" * 30, "1,234.5")], ("seconds",)),
    "no lines": build([f"heading{n}" for n in range(7)], [["x"] * 7]),
}


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_head_is_broken_and_no_letter_is_lost(name, width, monkeypatch):
    table = TABLES[name]
    lines = printed(table, width, monkeypatch)
    text = "\n".join(lines)
    for column in table.columns:
        for word in column.header.split():
            assert re.search(rf"(?<!\S){re.escape(word)}(?!\S)", text), f"{word} in {text}"
    letters = re.sub(r"[^\w/]", "", text)
    for column in table.columns:
        for cell in column.cells:
            assert not re.sub(r"[^\w/]", "", cell)[:20] or re.sub(r"[^\w/]", "", cell)[:6] in letters
    assert "…" not in text
    if width >= 80:
        assert max(map(len, lines)) <= width


def test_numbers_stay_in_one_line(monkeypatch):
    assert "10.0 to 14.9" in "\n".join(printed(TABLES["numbers"], 80, monkeypatch))
    assert "1,234.5" in "\n".join(printed(TABLES["long words"], 80, monkeypatch))


def test_heads_that_do_not_fit_go_over_the_edge(monkeypatch):
    table = build([f"heading{n}" for n in range(12)], [["x"] * 12])
    assert any("heading0" in line and "heading11" in line for line in printed(table, 60, monkeypatch))


def test_what_is_printed_is_kept_as_it_reads(monkeypatch, capsys):
    with terminal.record_printed() as kept, terminal.plain_output():
        terminal.open_console().print(build(("a", "b"), [("1", "\x1b[2J")]))
        terminal.open_console().print("a line")
        terminal.open_console(stderr=True).print("a note")
        print("another")
    assert kept.to_json() == {
        "tables": [{"title": "a title", "columns": ["a", "b"], "rows": [["1", "\\x1b[2J"]]}],
        "lines": ["a line", "another"],
    }
    assert "another" in capsys.readouterr().out
