"""Settings survive JSON, and what does not fit is named by its field."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from lexiseg.core.errors import InputError
from lexiseg.runs.settings_json import changed_fields, settings_from_json, settings_to_json


@dataclass(frozen=True, kw_only=True)
class Inner:
    rates: tuple[float, ...] = (0.1, 2.0)
    size: tuple[int, int] = (3, 4)
    folder: Path | None = Path("data")


@dataclass(frozen=True, kw_only=True)
class Outer:
    kind: Literal["a", "b"] = "a"
    count: int = 3
    rate: float = 0.5
    flag: bool = True
    names: dict[str, int] = field(default_factory=lambda: {"x": 1})
    words: int | str = "many"
    inner: Inner = field(default_factory=Inner)


def there_and_back(settings):
    return settings_from_json(
        type(settings), json.loads(json.dumps(settings_to_json(settings))), source="here"
    )


@pytest.mark.parametrize(
    "settings",
    [Outer(), Outer(words=3, inner=Inner(folder=None, rates=())), Outer(kind="b", rate=1e-30, flag=False)],
)
def test_settings_come_back_equal(settings):
    assert there_and_back(settings) == settings


def test_a_whole_number_is_a_float_where_one_is_wanted():
    value = settings_to_json(Outer())
    value["rate"] = 2
    assert isinstance(settings_from_json(Outer, value, source="here").rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "c"}, "settings.kind in here: found 'c'; expected 'a' or 'b'"),
        ({"count": "3"}, "settings.count in here: found '3'; expected a value of type int"),
        ({"count": True}, "settings.count in here: found True"),
        ({"flag": 1}, "settings.flag in here: found 1; expected a value of type bool"),
        ({"words": 0.5}, "settings.words in here: found 0.5; expected int or str"),
        ({"names": {"x": "1"}}, "settings.names.x in here"),
        ({"inner": 3}, "settings.inner in here: found 3; expected an object with rates, size, folder"),
        ({"extra": 3}, "settings.extra in here: found a field that this recipe does not have"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(InputError, match=message):
        settings_from_json(Outer, {**settings_to_json(Outer()), **change}, source="here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": [0.1, "x"]}, r"settings.inner.rates\[1\] in here"),
        ({"size": [1]}, "settings.inner.size in here: found .*; expected a list of 2"),
        ({"folder": 3}, "settings.inner.folder in here"),
    ],
)
def test_nested_fields_are_named_in_full(change, message):
    value = settings_to_json(Outer())
    value["inner"] |= change
    with pytest.raises(InputError, match=message):
        settings_from_json(Outer, value, source="here")


def test_a_missing_field_is_not_filled_in():
    value = settings_to_json(Outer())
    del value["inner"]["size"]
    with pytest.raises(InputError, match=r"settings.inner.size in here: found no such field"):
        settings_from_json(Outer, value, source="here")


def test_changes_are_found_by_their_dotted_names():
    before, after = Outer(), replace(Outer(count=4), inner=Inner(folder=None))
    assert changed_fields(settings_to_json(before), settings_to_json(after)) == {
        "count": (3, 4),
        "inner.folder": ("data", None),
    }
