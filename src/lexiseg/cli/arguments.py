"""What is done with a command line before its command reads it: short options, words without commas, a file of options."""

import os
import sys
import tomllib
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path
from typing import Any

from lexiseg.core.errors import InputError

#: Short options of every command that has the long one.
SHORT = {"-o": "--out", "-m": "--model", "-w": "--words"}

#: Commands whose last place on the line, and no option, says where results go; -o and --out are read as that place.
OUT_IS_A_PLACE = frozenset({"export", "scenes"})

#: Options of every command, read here and not by it.
QUIET, VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")

#: Option of every command for a file of what it found. Those listed write more than they print, and read it themselves.
JSON = "--json"
OWN_JSON = frozenset(
    (
        "jobs show",
        "explain",
        "start",
        "fit",
        "exchange",
        "next",
        "evaluate",
        "licences",
        "score",
        "gamma",
        "retrieve",
        "classify",
        "captions check",
    )
)


def prepare(name: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments as the command reads them.

    ``--words cat dog`` becomes one list, and is said; ``--config FILE`` gives options that are not on the line.

    Args:
        name: The command.
        arguments: What stands after it.

    Raises:
        InputError: The file of options cannot be used.
    """
    read = _with_config(name, _with_commas([SHORT.get(word, word) for word in arguments]))
    return _with_place(read) if name in OUT_IS_A_PLACE else read


def take_flag(arguments: list[str], flag: tuple[str, str]) -> bool:
    """Take a flag in either spelling out of the arguments; tell whether it was there."""
    found = [word for word in arguments if word in flag]
    for word in found:
        arguments.remove(word)
    return bool(found)


def _with_place(arguments: list[str]) -> list[str]:
    """Put what follows ``--out`` behind the other places, which stand before or after all options."""
    place = next((at for at, word in enumerate(arguments) if word.partition("=")[0] == "--out"), None)
    if place is None or (arguments[place] == "--out" and place + 1 == len(arguments)):
        return arguments
    _, is_joined, out = arguments[place].partition("=")
    rest = [*arguments[:place], *arguments[place + (1 if is_joined else 2) :]]
    out = out if is_joined else arguments[place + 1]
    options = next((at for at, word in enumerate(rest) if word.startswith("-")), 0)
    return [*rest[:options], out, *rest[options:]] if options else [*rest, out]


def take_json(name: str, arguments: list[str]) -> Path | None:
    """Take ``--json FILE`` out of the arguments of a command that does not read it itself.

    Args:
        name: The command.
        arguments: What stands after it; changed.

    Raises:
        InputError: There is no file.
    """
    actions = (f"{name} {word}" for word in arguments[:1])
    place = next((at for at, word in enumerate(arguments) if word.partition("=")[0] == JSON), None)
    if place is None or name in OWN_JSON or any(action in OWN_JSON for action in actions):
        return None
    word = arguments.pop(place)
    file = word.partition("=")[2] or (arguments.pop(place) if place < len(arguments) else "")
    if not file or file.startswith("-"):
        raise InputError(
            doing=f"reading the options of lexiseg {name}",
            found="--json without a file",
            expected="--json FILE",
            fix="Name a file to write what is printed to.",
        )
    return Path(file)


def _with_commas(arguments: list[str]) -> list[str]:
    """Join what follows ``--words`` and is no file: a person who leaves out commas means several words."""
    if "--words" not in arguments:
        return arguments
    start = arguments.index("--words") + 1
    stop = start + 1
    while stop < len(arguments) and _is_word(arguments[stop]):
        stop += 1
    if stop - start < 2:
        return arguments
    joined = ", ".join(word.strip(", ") for word in arguments[start:stop])
    print(f'note: read as --words "{joined}"', file=sys.stderr)
    return [*arguments[:start], joined, *arguments[stop:]]


def _is_word(argument: str) -> bool:
    is_path = os.path.lexists(argument) or has_magic(argument) or "/" in argument or "." in argument
    return bool(argument) and not argument.startswith("-") and not is_path


def _with_config(name: str, arguments: list[str]) -> list[str]:
    if "--config" not in arguments:
        return arguments
    place = arguments.index("--config")
    rest = [*arguments[:place], *arguments[place + 2 :]]
    doing = "reading the options of a file"
    if place + 1 >= len(arguments):
        raise InputError(
            doing=doing, found="--config without a file", expected="--config FILE", fix="Name one."
        )
    path = arguments[place + 1]
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise InputError(
            doing=f"{doing}: {path}",
            found=getattr(error, "strerror", None) or str(error),
            expected='a TOML file: lines such as model = "mini", for all commands or under [segment]',
            fix="Check its path and its form.",
        ) from error
    options = {key: value for key, value in content.items() if not isinstance(value, dict)}
    options |= content.get(name, {})
    given = {word.partition("=")[0].replace("_", "-") for word in rest if word.startswith("--")}
    for key, value in options.items():
        flag = f"--{key.replace('_', '-')}"
        if flag not in given:
            rest += _as_arguments(flag, value)
    return rest


def _as_arguments(flag: str, value: Any) -> list[str]:
    if value is True:
        return [flag]
    if value is False:
        return []
    if isinstance(value, list):
        return [f"{flag}={', '.join(map(str, value))}"] if flag == "--words" else [flag, *map(str, value)]
    return [f"{flag}={value}"]
