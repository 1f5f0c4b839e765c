import io
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from lexiseg.cli import COMMANDS, GROUPS, main
from lexiseg.cli.arguments import OWN_JSON, prepare, take_flag, take_json
from lexiseg.cli.completion import completion
from lexiseg.cli.progress import progress
from lexiseg.cli.quietly import quietly
from lexiseg.core.errors import InputError, UnknownNameError


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["a.jpg", "--words", "cat", "dog"], ["a.jpg", "--words", "cat, dog"]),
        (["--words", "cat,", "dog", "a.jpg"], ["--words", "cat, dog", "a.jpg"]),
        (["--words", "cat", "photos/"], ["--words", "cat", "photos/"]),
        (["--words", "cat, dog", "*.jpg"], ["--words", "cat, dog", "*.jpg"]),
        (["-w", "cat", "dog", "-o", "out"], ["--words", "cat, dog", "--out", "out"]),
        (["--words"], ["--words"]),
        (["a.jpg"], ["a.jpg"]),
    ],
)
def test_words_without_commas_are_one_list_and_files_stay_files(given, read, capsys):
    assert prepare("segment", given) == read
    assert ("note: read as" in capsys.readouterr().err) == (len(read) < len(given))


def test_a_file_that_is_called_like_a_word_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dog").touch()
    assert prepare("segment", ["--words", "cat", "dog"]) == ["--words", "cat", "dog"]


def test_options_of_a_file_come_after_those_of_the_line(tmp_path):
    path = tmp_path / "options.toml"
    path.write_text(
        'model = "mini"\nout = "here"\n[segment]\nwords = ["cat", "dog"]\noverwrite = true\nunknown = false\n'
        '[evaluate]\ndata = "x"\n'
    )
    read = prepare("segment", ["a.jpg", "--config", str(path), "--out", "there"])
    assert read == ["a.jpg", "--out", "there", "--model=mini", "--words=cat, dog", "--overwrite"]
    for text, part in (("model = ", "options.toml"), (None, "No such file")):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        with pytest.raises(InputError, match=part):
            prepare("segment", ["--config", str(path)])
    with pytest.raises(InputError, match="--config without a file"):
        prepare("segment", ["--config"])


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("export", ["store", "-o", "out.json"], ["store", "out.json"]),
        (
            "export",
            ["-o", "out.json", "store", "--format", "coco"],
            ["store", "out.json", "--format", "coco"],
        ),
        ("export", ["--truth", "store", "--out=out.json"], ["--truth", "store", "out.json"]),
        ("scenes", ["make", "--num", "3", "-o", "out"], ["make", "out", "--num", "3"]),
        ("sheet", ["results", "-o", "page.html"], ["results", "--out", "page.html"]),
    ],
)
def test_where_results_go_is_said_alike_everywhere(name, given, read):
    assert prepare(name, given) == read


def help_of(command: str) -> str:
    """Return a command's help, from the page that another test holds true; of an action, which has none there, itself."""
    if " " in command:
        with redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        return printed.getvalue()
    return re.split(r"^### lexiseg ", PAGE.read_text(), flags=re.M)[1:][HEADINGS.index(command)]


PAGE = Path(__file__).parents[3] / "docs" / "commands.md"
HEADINGS = re.findall(r"^### lexiseg (\S+)$", PAGE.read_text(), re.M)


@pytest.mark.parametrize("command", sorted(OWN_JSON | COMMANDS.keys()))
def test_every_command_reads_json_itself_or_has_what_it_prints_written(command):
    assert ("--json" in help_of(command)) == (command in OWN_JSON)
    name, *action = command.split()
    for written in (["--json", "a.json"], ["--json=a.json"]):
        words = [*action, "x", *written, "y"]
        file = take_json(name, words)
        assert file == (None if command in OWN_JSON else Path("a.json"))
        assert words == ([*action, "x", *written, "y"] if command in OWN_JSON else [*action, "x", "y"])


def test_what_a_command_prints_is_written_as_rows_and_lines(tmp_path, capsys):
    path = tmp_path / "printed.json"
    with pytest.raises(SystemExit):
        main(["datasets", "list", "--json", str(path), "-q"])
    found = json.loads(path.read_text())
    (table,) = found["tables"]
    assert table["columns"][:2] == ["name", "classes"]
    assert ["voc20", "20", "1,449", "val", "void"] in table["rows"]
    assert any("PASCAL VOC 2012" in line for line in found["lines"])
    assert (found["command"], found["exit_code"], capsys.readouterr().out) == ("datasets", 0, "")
    for wrong in (["--json"], ["--json", "--help"]):
        with pytest.raises(InputError, match="--json without a file"):
            take_json("datasets", ["list", *wrong])


def test_flags_of_every_command_are_taken_out():
    words = ["a", "-q", "b", "--quiet"]
    assert take_flag(words, ("-q", "--quiet"))
    assert words == ["a", "b"]
    assert not take_flag(words, ("-q", "--quiet"))


def test_quiet_prints_errors_and_nothing_else(capsys):
    with quietly():
        print("a table")
        print("note: of no importance", file=sys.stderr)
        print("error: of importance", file=sys.stderr)
        sys.stderr.write("no line end")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: of importance\nno line end"


def test_verbose_says_where_an_error_arose(capsys):
    for flags, shown in (([], False), (["-v"], True)):
        with pytest.raises(SystemExit):
            main(["score", "nothing-there", *flags])
        assert ("Traceback" in capsys.readouterr().err) == shown


def test_help_lists_every_command_once_in_groups(capsys):
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"{group}:" in text for group in GROUPS)


def test_shells_complete_commands():
    for shell in ("bash", "zsh"):
        assert " ".join(COMMANDS) in completion(shell)
    with pytest.raises(UnknownNameError, match="shell"):
        completion("tcsh")


def test_progress_in_a_pipe_is_a_line_now_and_then(capsys, monkeypatch):
    from lexiseg.cli import progress as module

    monkeypatch.setattr(module, "_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("counting", 3) as advance:
        for _ in range(3):
            advance()
    lines = sys.stderr.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["counting: 1 of 3", "counting: 2 of 3"]


def test_a_name_that_is_like_none_is_offered_none():
    near, far = UnknownNameError.of("model", "minni", ["mini"]), UnknownNameError.of("model", "zzz", ["mini"])
    assert near.fix == "Nearest: mini."
    assert "Nearest" not in far.fix
    assert "mini" in far.expected


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_holds_for_what_is_read_before_the_command(capsys, flag):
    with pytest.raises(SystemExit):
        main(["segment", "nowhere.jpg", "--words", "cat", "dog", "--model", "nonsense", flag])
    shown = capsys.readouterr()
    assert "error:" in shown.err
    assert "note:" not in shown.err + shown.out
