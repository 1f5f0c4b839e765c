"""Every command and every import that README and docs print is one that exists, option by option."""

import ast
import shlex
from importlib import import_module

import pytest
import tyro

from lexiseg.cli import COMMANDS
from lexiseg.cli.arguments import QUIET, VERBOSE, prepare, take_flag
from printed_commands import PAGES, ROOT, blocks, commands


def parse(line: str) -> None:
    """Read a command line as the command does, without running it."""
    words = shlex.split(line, comments=True)
    words = words[1:] if words[0] == "lexiseg" else words
    for stop in ("|", ">", "&&", ";", "&", "2>"):
        words = words[: words.index(stop)] if stop in words else words
    if not words or words[0].startswith("-"):
        return
    name, rest = words[0], words[1:]
    assert name in COMMANDS, name
    take_flag(rest, QUIET)
    take_flag(rest, VERBOSE)
    if rest and rest[-1] in ("-h", "--help"):
        return
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(f"lexiseg.cli.{module}"), attribute)
    rest = prepare(name, [word for word in rest if word not in ("…", "...")])
    if hasattr(command, "from_arguments"):
        command.from_arguments(rest)
    else:
        tyro.cli(command, args=rest, config=(tyro.conf.OmitArgPrefixes,))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_read_as_they_are_printed(page, capsys):
    wrong = []
    for line in commands(page):
        try:
            parse(line)
        except (SystemExit, Exception) as error:
            said = capsys.readouterr()
            wrong.append(f"{line}\n    {error!r} {(said.out + said.err)[-400:]}")
    assert not wrong, "\n".join(wrong)


def test_what_python_snippets_import_exists():
    missing = []
    for page in PAGES:
        for block in blocks(page, "python"):
            tree = ast.parse(block)  # a snippet that is no Python fails here
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lexiseg"):
                    module = import_module(str(node.module))
                    names = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                    missing += [f"{page.name}: {node.module}.{name}" for name in names]
    assert not missing, missing


def test_every_public_name_and_every_name_that_snippets_import_is_in_the_reference():
    import lexiseg

    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    wanted = {f"lexiseg.{lexiseg._HOMES[name]}.{name}" for name in lexiseg.__all__}
    for page in PAGES:
        for block in blocks(page, "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lexiseg."):
                    wanted |= {f"{node.module}.{alias.name}" for alias in node.names}
    lacking = [
        name
        for name in sorted(wanted)
        if name not in reference and name.rpartition(".")[0] + "\n" not in reference
    ]
    assert not lacking, lacking
