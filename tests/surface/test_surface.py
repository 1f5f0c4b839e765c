"""What outsiders lean on: names, start-up, help, and what the code never does."""

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import lexiseg
from lexiseg.cli import COMMANDS

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_public_names_are_sorted_importable_and_few():
    assert lexiseg.__all__ == sorted(lexiseg.__all__)
    assert len(lexiseg.__all__) <= 20
    for name in lexiseg.__all__:
        assert getattr(lexiseg, name).__name__ == name


def test_names_for_type_checkers_are_the_names_at_run_time():
    tree = ast.parse((ROOT / "src/lexiseg/__init__.py").read_text())
    imported = {
        (alias.asname, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lexiseg.")
        for alias in node.names
    }
    assert imported == {(name, f"lexiseg.{home}") for name, home in lexiseg._HOMES.items()}


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sgement'"):
        lexiseg.sgement  # noqa: B018


@pytest.mark.parametrize("statement", ["import lexiseg", "import lexiseg.cli"])
def test_start_up_imports_nothing_heavy(statement):
    heavy = run_python(
        f"import sys; {statement}; "
        "print([m for m in ('torch', 'numpy', 'numba', 'transformers', 'PIL', 'scipy') if m in sys.modules])"
    )
    assert heavy == "[]"


@pytest.mark.exhaustive
def test_mini_needs_no_model_library():
    loaded = run_python("import sys, lexiseg; lexiseg.load('mini'); print('transformers' in sys.modules)")
    assert loaded == "False"


@pytest.mark.parametrize(
    "command",
    [
        "",
        *COMMANDS,
        "datasets check",
        "datasets convert",
        "datasets similarity",
        "references build",
        "references show",
        "references merge",
        "references cost",
    ],
)
def test_help_of_every_command_reads_well(command, capsys):
    from lexiseg.cli import main

    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code in (0, None)
    assert "{None}" not in text
    assert "jaxtyping" not in text
    if command == "segment":
        for word in (
            "PATHS",
            "--words",
            "--classes-file",
            "--model",
            "--background",
            "--out",
            "goes on where",
        ):
            assert word in text


def test_the_list_of_commands_says_what_each_command_says_of_itself():
    for where, summary in COMMANDS.values():
        module, _, name = where.partition(":")
        command = getattr(import_module(f"lexiseg.cli.{module}"), name)
        assert inspect.getdoc(command).splitlines()[0] == summary


def test_unknown_command_names_the_nearest(capsys):
    from lexiseg.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["sgement"])
    assert stopped.value.code == 2
    assert "Nearest: segment" in capsys.readouterr().err


def test_version_is_printed(capsys):
    from lexiseg.cli import main

    main(["--version"])
    assert re.fullmatch(r"lexiseg \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_misspelt_option_is_refused_with_a_suggestion(capsys):
    from lexiseg.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["segment", "a.jpg", "--wrods", "cat"])
    assert stopped.value.code == 2
    assert "--words" in capsys.readouterr().err


def test_pickles_are_read_in_two_places_and_as_weights_only():
    """One hash-checked file of the embedded model, and what a person asks to convert, in a process of its own."""
    calls = []
    for path in SOURCES:
        text = path.read_text()
        forbidden = r"pickle\.(load|loads|Unpickler)\b|^\s*(import|from) (joblib|dill)\b"
        assert not re.search(forbidden, text, re.MULTILINE), path
        calls += [
            (path.name, {word.arg: ast.unparse(word.value) for word in node.keywords})
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("torch.load")
        ]
    assert [(name, words.get("weights_only")) for name, words in calls] == [
        ("convert_worker.py", "True"),
        ("efficientnet_lite.py", "True"),
    ]


def test_no_method_is_known_by_its_name():
    for path in SOURCES:
        compared = re.search(r"[=!]= \"(mini|rim|simseg|simformer|cocu|clip_to_seg)\"", path.read_text())
        assert compared is None, f"{path}: {compared}"


def test_no_drawer_files_and_no_postponed_annotations():
    for path in SOURCES:
        assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common"}, path
        assert "from __future__ import annotations" not in path.read_text(), path


def test_files_can_be_read_in_a_sitting():
    lengths = sorted(len(path.read_text().splitlines()) for path in SOURCES if path.name != "__init__.py")
    assert lengths[len(lengths) // 2] <= 200
    assert lengths[-1] <= 400


def test_import_rules_hold():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--config", str(ROOT / "pyproject.toml")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
