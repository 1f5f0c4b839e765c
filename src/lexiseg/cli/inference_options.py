"""The flags of inference, made from the fields of ``InferenceSettings``: none is written twice."""

import inspect
import re
from dataclasses import fields, make_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from lexiseg.cli.options import option
from lexiseg.inference.settings import InferenceSettings

#: What a value of each type is called in the help.
_METAVARS = {int: "N", float: "NUMBER", str: "NAME", bool: "True|False"}


def attribute_lines(described: type) -> dict[str, str]:
    """Return the lines of a class's docstring under ``Attributes:``, each as one line of text."""
    text = inspect.getdoc(described) or ""
    _, _, listed = text.partition("\nAttributes:\n")
    lines: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(listed.split("\n\n")[0]).splitlines():
        if started := re.match(r"(\w+): (.*)", line):
            name, line = started.groups()
        lines[name] = f"{lines.get(name, '')} {line.strip()}".strip()
    return lines


def flag_of(name: str) -> str:
    """Write the name of a setting as the flag that changes it."""
    return f"--{name.replace('_', '-')}"


def _without_none(kind: Any) -> tuple[Any, bool]:
    """Take ``None`` out of a type; tell whether it was in."""
    if get_origin(kind) is not UnionType:
        return kind, False
    (inner,) = (part for part in get_args(kind) if part is not type(None))
    return inner, True


def _help_of(line: str, names: set[str]) -> str:
    """Turn an attribute line into help: settings become flags, quotes of code fall away."""
    return re.sub(r"``(.+?)``", lambda word: flag_of(word[1]) if word[1] in names else word[1], line)


def _annotated(kind: Any, line: str, names: set[str]) -> Any:
    """Annotate a flag that may be left out; ``none`` is a value where the setting may be None."""
    inner, may_be_none = _without_none(kind)
    metavar = "|".join(get_args(inner)) if get_origin(inner) is Literal else _METAVARS[inner]
    if may_be_none:
        inner, metavar = inner | Literal["none"], f"{metavar}|none"
    return Annotated[inner | None, option(metavar, _help_of(line, names))]


class _Given:
    """What was given of the flags."""

    def __post_init__(self) -> None:
        InferenceSettings(**self.changes())  # says what is wrong before a model is loaded

    def changes(self) -> dict[str, Any]:
        """Return the settings that were named on the command line."""
        given = {field.name: getattr(self, field.name) for field in fields(InferenceSettings)}
        optional = {field.name for field in fields(InferenceSettings) if _without_none(field.type)[1]}
        return {
            name: None if name in optional and value == "none" else value
            for name, value in given.items()
            if value is not None
        }


if TYPE_CHECKING:

    class InferenceOptions(_Given):
        """Flags for every field of ``InferenceSettings``."""

        def __init__(self, **values: Any) -> None: ...

else:
    _LINES = attribute_lines(InferenceSettings)
    InferenceOptions = make_dataclass(
        "InferenceOptions",
        [
            (field.name, _annotated(field.type, _LINES[field.name], set(_LINES)), None)
            for field in fields(InferenceSettings)
        ],
        bases=(_Given,),
        frozen=True,
        kw_only=True,
        namespace={
            "__doc__": "How images become label maps; what is left out is the model's own choice.",
            "__module__": __name__,
        },
    )
