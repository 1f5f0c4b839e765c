"""Settings of a method, changed by name: one way for every model, on the command line and in Python.

The settings of a method are its own frozen dataclass. A field of a part is reached by a dotted name
(``masks.closing``), and the attribute lines of the dataclass are what a person reads about it. Weights that were
trained fix most settings: ``CHANGEABLE_AFTER_TRAINING``, a class attribute of the dataclass, names those, or the
parts, that may be changed afterwards; without it there are none.
"""

import difflib
import inspect
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.runs.settings_json import decode_value, settings_to_json

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """Settings of a method that has nothing to set."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a method, for a person.

    Attributes:
        name: Dotted name of the field.
        value: Present value, as text that ``--set`` takes.
        takes: Values that it takes, in a few characters.
        about: Attribute line of the dataclass.
        is_changeable: Whether it may be changed for this model.
    """

    name: str
    value: str
    takes: str
    about: str
    is_changeable: bool


def list_settings(settings: Any, *, trained: bool = False) -> list[Setting]:
    """Return every setting of a method, those of its parts by their dotted names.

    Args:
        settings: The method's dataclass with its present values.
        trained: Whether the model has trained weights, which fix what is not said to be changeable.
    """
    return [
        Setting(
            name=name,
            value=_text_of(value),
            takes=_takes(kind),
            about=about,
            is_changeable=not trained or _is_changeable(settings, name),
        )
        for name, kind, value, about in _leaves(settings)
    ]


def parse_changes(texts: Sequence[str]) -> dict[str, str]:
    """Return the value of each name out of ``NAME=VALUE`` texts.

    Raises:
        InputError: A text has no "=", or a name is given twice.
    """
    changes: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise _unreadable(repr(text), "NAME=VALUE, such as --set temperature=0.1")
        if name in changes:
            raise _unreadable(f"{name} twice", "every name once")
        changes[name] = value.strip()
    return changes


def change_settings(
    settings: Settings, changes: Mapping[str, Any], *, model: str, trained: bool = False
) -> Settings:
    """Return the settings with some fields changed.

    Args:
        settings: The method's frozen dataclass.
        changes: Values by dotted name. A text is read by the type of the field ("0.1", "true", "none",
            "sky,wall"); anything else has to be of that type.
        model: What the model was asked for by, for messages.
        trained: Whether the model has trained weights.

    Raises:
        UnknownNameError: There is no such setting; the message lists all of them.
        InputError: A value is of another type or refused by the dataclass, or trained weights fix the field.
    """
    for name, value in changes.items():
        leaves = {leaf: (kind, about) for leaf, kind, _, about in _leaves(settings)}
        if name not in leaves:
            raise _unknown(name, settings, model, trained=trained)
        kind, about = leaves[name]
        changed = _replaced(settings, name.split("."), _checked(kind, value, name, about, model))
        if trained and changed != settings and not _is_changeable(settings, name):
            raise _fixed(name, settings, model)
        settings = changed
    return settings


def _leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, str]]:
    """Yield name, type, value and description of every field, parts being walked through."""
    hints, about = get_type_hints(type(settings)), attribute_lines(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from _leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", hints[field.name], value, about.get(field.name, "")


def attribute_lines(kind: type) -> dict[str, str]:
    """Return the text of each entry in the ``Attributes:`` section of a docstring."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    lines: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break  # another section
        if entry := re.match(r" {4}(\w+): (.*)", line):
            name = entry[1]
            lines[name] = entry[2]
        elif name and line.strip():
            lines[name] += f" {line.strip()}"
    return {name: text.replace("``", "") for name, text in lines.items()}


def _is_changeable(settings: Any, name: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in _changeable_parts(settings))


def _changeable_parts(settings: Any) -> tuple[str, ...]:
    return getattr(type(settings), "CHANGEABLE_AFTER_TRAINING", ())


def _replaced(settings: Any, path: Sequence[str], value: Any) -> Any:
    name, *rest = path
    return replace(settings, **{name: _replaced(getattr(settings, name), rest, value) if rest else value})


def _checked(kind: Any, value: Any, name: str, about: str, model: str) -> Any:
    plain = _plain(kind, value) if isinstance(value, str) else settings_to_json(value)
    try:
        return decode_value(kind, plain, name, model)
    except InputError as error:
        raise InputError(
            doing=f"changing the setting {name} of {model}",
            found=repr(value),
            expected=f"{_takes(kind)}{f' ({about})' if about else ''}",
            fix=f"Correct it, or leave it out; lexiseg models {model} lists the settings.",
        ) from error


def _plain(kind: Any, text: str) -> Any:
    """Read a text as JSON would have the value; the text itself where it is none of the type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and text.casefold() == "none":
            return None
        readings = (_plain(each, text) for each in arguments if each is not type(None))
        return next((reading for reading in readings if reading != text), text)
    if origin is Literal:
        return next((each for each in arguments if str(each) == text), text)
    if origin is tuple:
        parts = [part.strip() for part in text.split(",")] if text else []
        kinds = [each for each in arguments if each is not Ellipsis]
        return [_plain(kinds[min(at, len(kinds) - 1)], part) for at, part in enumerate(parts)]
    if kind is bool:
        return {"true": True, "false": False}.get(text.casefold(), text)
    if kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text
    return text


def _takes(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return "|".join("none" if each is type(None) else _takes(each) for each in arguments)
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin is tuple:
        each = _takes(arguments[0])
        return f"{each},{each},…" if arguments[-1] is Ellipsis else ",".join(map(_takes, arguments))
    return {bool: "true|false", int: "whole number", float: "number"}.get(kind, "text")


def _text_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_text_of, value)) if isinstance(value, tuple) else str(value)


def _unreadable(found: str, expected: str) -> InputError:
    return InputError(
        doing="reading --set",
        found=found,
        expected=expected,
        fix="Correct it; lexiseg models MODEL lists the settings of a model.",
    )


def _unknown(name: str, settings: Any, model: str, *, trained: bool) -> UnknownNameError:
    known = list_settings(settings, trained=trained)
    lines = [f"{each.name}={each.value}: {each.about.partition('. ')[0].rstrip('.')}" for each in known]
    near = difflib.get_close_matches(name, [each.name for each in known], n=3, cutoff=0.0)
    return UnknownNameError(
        doing=f"changing the setting {name} of {model}",
        found="no setting of that name",
        expected="one of:" + "".join(f"\n              {line}" for line in lines)
        if known
        else f"no setting at all: the method of {model} has nothing to set",
        fix=f"Nearest: {', '.join(near)}. lexiseg models {model} says what each takes."
        if known
        else "Leave it out; how images become label maps is set by options of their own, such as --refine.",
    )


def _fixed(name: str, settings: Any, model: str) -> InputError:
    free = [each.name for each in list_settings(settings, trained=True) if each.is_changeable]
    flag = name.replace("_", "-")
    return InputError(
        doing=f"changing the setting {name} of {model}",
        found="a model with trained weights, which that setting belongs to",
        expected=f"a setting of what comes after the weights: {', '.join(free)}"
        if free
        else "no change: everything that this method can be set to is of its training",
        fix=f"Train again with --method.{flag}, or leave it out.",
    )
