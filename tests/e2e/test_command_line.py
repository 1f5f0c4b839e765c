"""The frame around every command: terminals of any kind, Ctrl-C at any time, readers that leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lexiseg.cli import main
from lexiseg.runs.known_models import known_models

SOURCE = Path(__file__).parents[2] / "src"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def lexiseg(*arguments: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; {before}\nfrom lexiseg.cli import main; main({list(arguments)!r})"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, errors="replace"
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "arguments", [["--help"], ["segment", "--help"], ["models"], ["segment", "é", "--words", "ö"]]
)
def test_terminal_without_our_letters_still_shows_the_text(arguments):
    done = lexiseg(*arguments, **ASCII)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "é" in arguments
    assert len(done.stdout + done.stderr) > 100


INTERRUPT = """
class Interrupt:
    def find_spec(self, name, *_):
        if name == {name!r}: raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["lexiseg.core.errors", "tyro", "lexiseg.cli.models", "rich.console"])
def test_ctrl_c_while_importing_is_no_traceback(name):
    done = lexiseg("models", before=INTERRUPT.format(name=name))
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "Stopped." in done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("arguments", [["--help"], ["models"]])
def test_reader_that_left_is_no_complaint(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    running = subprocess.run(
        [sys.executable, "-m", "lexiseg", *arguments],
        stdout=writer, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    os.close(writer)
    assert running.stderr == b""
    assert running.returncode == 1


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_model_names_are_never_cut(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        main(["models"])
    lines = capsys.readouterr().out.splitlines()
    for model in known_models():
        (line,) = [line for line in lines if line.split()[:1] == [model.name]]
        assert model.licence in line
        assert model.summary in line


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_model_names_are_whole_on_a_terminal(columns, monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main(["models"])
    for model in known_models():
        assert f"{model.name} " in terminal.getvalue()
