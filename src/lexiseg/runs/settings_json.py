"""Settings to JSON and back, strictly: every field is there, of its type, and nothing else.

Fields that were renamed since are read by their old names too (``renamed_settings``).
"""

import math
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lexiseg.core.errors import InputError, LexisegError, as_found
from lexiseg.runs.renamed_settings import with_new_names

Settings = TypeVar("Settings")

#: Whole numbers up to here are exact wherever JSON is read.
_LARGEST = 2**53


def settings_to_json(value: Any) -> Any:
    """Return plain values: dataclasses become objects, tuples lists, paths texts."""
    if is_dataclass(value):
        return {field.name: settings_to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): settings_to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [settings_to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    assert value is None or isinstance(value, bool | int | float | str), f"a setting of type {type(value)}"
    return value


def settings_from_json(kind: type[Settings], value: Any, *, source: str) -> Settings:
    """Build a dataclass from what ``settings_to_json`` gave.

    Args:
        kind: The dataclass. Its fields are bool, int, float, str, Path, Literal, tuple, dict from str, None or
            dataclasses of these.
        value: Plain values.
        source: Where they are from, for messages.

    Raises:
        InputError: A field is missing, unknown or of another type; the message names it.
    """
    return decode_value(kind, value, "settings", source)


def changed_fields(before: Any, after: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Compare plain values; return both for each field that differs, by its dotted name."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {
            name: pair
            for key in before | after
            for name, pair in changed_fields(before.get(key), after.get(key), f"{path}.{key}").items()
        }
    return {} if before == after else {path.lstrip("."): (before, after)}


def decode_value(kind: Any, value: Any, where: str, source: str) -> Any:
    """Read one value of a type that settings can have from plain values.

    Args:
        kind: The type.
        value: Plain value.
        where: Dotted name of the field, for messages.
        source: Where it is from, for messages.

    Raises:
        InputError: It is of another type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, where, source)
    if origin is Literal:
        if value in arguments:
            return value
        raise _wrong(where, source, value, " or ".join(map(repr, arguments)))
    if is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, value, where, source)
    if origin is tuple:
        return _decode_tuple(arguments, value, where, source)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, source, value, "an object")
        return {
            key: decode_value(arguments[1], item, f"{where}.{key}", source) for key, item in value.items()
        }
    if kind is float and type(value) is int and abs(value) <= _LARGEST:
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind in (bool, int, float, str) and type(value) is kind:
        if isinstance(value, float) and not math.isfinite(value):
            raise _wrong(where, source, value, "a finite number")
        if kind is int and abs(value) > _LARGEST:
            raise _wrong(where, source, as_found(value), f"a whole number, {_LARGEST:,} at most")
        return value
    assert kind in (bool, int, float, str, Path), f"{where} has a type that settings cannot have: {kind}"
    raise _wrong(where, source, value, f"a value of type {kind.__name__}")


def _decode_dataclass(kind: type, value: Any, where: str, source: str) -> Any:
    names = [field.name for field in fields(kind)]
    if not isinstance(value, dict):
        raise _wrong(where, source, value, f"an object with {', '.join(names)}")
    value = with_new_names(kind, value)
    if unknown := [name for name in value if name not in names]:
        raise _field(f"{where}.{unknown[0]}", source, "a field that this recipe does not have")
    if missing := [name for name in names if name not in value]:
        raise _field(f"{where}.{missing[0]}", source, "no such field")
    hints = get_type_hints(kind)
    given = {name: decode_value(hints[name], value[name], f"{where}.{name}", source) for name in names}
    try:
        return kind(**given)
    except LexisegError:
        raise
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise _field(where, source, f"numbers that do not go together ({as_found(error, 200)})") from error


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str, source: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(where, source, value, "a list")
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(kinds) != len(value):
        raise _wrong(where, source, value, f"a list of {len(kinds)}")
    items = enumerate(zip(kinds, value, strict=True))
    return tuple(decode_value(kind, item, f"{where}[{index}]", source) for index, (kind, item) in items)


def _decode_union(kinds: tuple[Any, ...], value: Any, where: str, source: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    given = [kind for kind in kinds if kind is not type(None)]
    if len(given) == 1:
        return decode_value(given[0], value, where, source)
    for kind in given:
        try:
            return decode_value(kind, value, where, source)
        except InputError:
            continue
    raise _wrong(where, source, value, " or ".join(str(getattr(kind, "__name__", kind)) for kind in given))


def _wrong(where: str, source: str, value: Any, expected: str) -> InputError:
    return InputError(
        doing=f"reading {where} in {source}",
        found=as_found(value, 300),
        expected=expected,
        fix="Put the value back that lexiseg train wrote there.",
    )


def _field(where: str, source: str, found: str) -> InputError:
    return InputError(
        doing=f"reading {where} in {source}",
        found=found,
        expected="exactly the fields of the recipe's settings",
        fix="The run was made with another version of the recipe: use that version, or mend the file by hand "
        "if you know the value that keeps the meaning.",
    )
