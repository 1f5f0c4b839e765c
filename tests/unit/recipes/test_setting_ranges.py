"""Every number that a flag can set is checked: a table over all recipes, that a new setting falls into."""

import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from lexiseg.core.errors import InputError, LexisegError
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.methods.groupvit.settings import SegmentSettings
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe
from recipe_flags import absurd_values, flags, with_flag

#: What no float and no whole number of any setting can be.
IMPOSSIBLE = {float: float("nan"), int: -(10**9)}


def settings_classes() -> list[type]:
    """List the dataclasses of all recipes' settings, at every depth, and of the methods' (``--set``)."""
    found: dict[type, None] = {}

    def add(kind: type) -> None:
        if kind in found or not is_dataclass(kind):
            return
        found[kind] = None
        for hint in get_type_hints(kind).values():
            for part in _alternatives(hint):
                if isinstance(part, type):
                    add(part)

    for name in TRAINING_RECIPES:
        add(type(find_recipe(name)))
    for kind in (ConSESettings, RIMSettings, SegmentSettings):
        add(kind)
    return list(found)


def _alternatives(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        yield from get_args(hint)
    else:
        yield hint


def instances() -> dict[type, Any]:
    """Return settings of each class as some recipe has them."""
    found: dict[type, Any] = {}

    def add(settings: Any) -> None:
        found.setdefault(type(settings), settings)
        for field in fields(settings):
            value = getattr(settings, field.name)
            if is_dataclass(value):
                add(value)

    for name in TRAINING_RECIPES:
        add(find_recipe(name))
    for kind in (ConSESettings, RIMSettings, SegmentSettings):
        add(kind())
    return found


def cases() -> list[Any]:
    made = instances()
    table = []
    for kind in settings_classes():
        if kind not in made:  # a part that no recipe has by default
            continue
        for name, hint in get_type_hints(kind).items():
            for part in _alternatives(hint):
                for number, value in IMPOSSIBLE.items():
                    if part is number:
                        table.append((made[kind], name, value))
                    elif get_origin(part) is tuple and set(get_args(part)) - {...} == {number}:
                        length = 2 if ... in get_args(part) else len(get_args(part))
                        table.append((made[kind], name, (value,) * length))
    return [pytest.param(*case, id=f"{type(case[0]).__name__}.{case[1]}") for case in table]


@pytest.mark.parametrize(("settings", "name", "value"), cases())
def test_a_number_that_cannot_be_is_refused_by_the_name_of_its_setting(settings, name, value):
    with pytest.raises(LexisegError) as caught:
        replace(settings, **{name: value})
    assert isinstance(caught.value, InputError)
    # by its own name, or by what people call several that belong together
    words = str(caught.value).replace("-", "_")
    assert any(part in words for part in name.split("_")), words


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TRAINING_RECIPES)
def test_an_absurd_value_of_any_flag_is_taken_or_refused_in_our_own_words(name):
    recipe = find_recipe(name)
    for flag, hint, _ in flags(recipe):
        for value in absurd_values(hint):
            try:
                with_flag(recipe, flag, value)
            except LexisegError:
                continue
            except Exception as error:
                raise AssertionError(f"--{flag} {value!r}") from error
