"""Settings of a method are changed by name, and everything that cannot be is said."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.methods.simseg.settings import SimSegSettings
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe
from lexiseg.runs.load import CHECKPOINTS, MODELS
from lexiseg.runs.method_settings import NoSettings, change_settings, list_settings, parse_changes


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part.

    Attributes:
        side: Side in pixels. Odd.
    """

    side: int = 7


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Every type that settings have.

    Attributes:
        how: Which way,
            in two lines.
        weight: Weight of it.
        count: Number of it.
        is_on: Whether it is on.
        label: Any text.
        place: A file.
        gate: Logit; none for no gate.
        words: Names.
        pair: Two numbers.
        part: What has settings of its own.

    More text that is no attribute:
        weight: Not this line.
    """

    CHANGEABLE_AFTER_TRAINING: ClassVar[tuple[str, ...]] = ("weight", "part")

    how: Literal["one", "two"] = "one"
    weight: float = 0.5
    count: int = 3
    is_on: bool = False
    label: str = "x"
    place: Path = Path("a")
    gate: float | None = 1.0
    words: tuple[str, ...] = ("a", "b")
    pair: tuple[int, float] = (1, 2.0)
    part: Part = field(default_factory=Part)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("how", "two", "two"),
        ("weight", "2", 2.0),
        ("weight", "1e-3", 0.001),
        ("count", "12", 12),
        ("is_on", "true", True),
        ("is_on", "False", False),
        ("label", "a=b, c", "a=b, c"),
        ("label", "3", "3"),
        ("place", "b/c", Path("b/c")),
        ("gate", "none", None),
        ("gate", "-2.5", -2.5),
        ("words", "sky, wall", ("sky", "wall")),
        ("words", "", ()),
        ("pair", "4,5", (4, 5.0)),
        ("part.side", "9", 9),
    ],
)
def test_a_text_is_read_by_the_type_of_the_field_and_listed_values_read_back(name, text, value):
    changed = change_settings(Toy(), parse_changes([f"{name}={text}"]), model="toy")
    found = changed
    for step in name.split("."):
        found = getattr(found, step)
    assert found == value
    assert type(found) is type(value)
    (row,) = [setting for setting in list_settings(changed) if setting.name == name]
    assert change_settings(Toy(), {name: row.value}, model="toy") == changed


def test_values_of_python_are_taken_as_they_are():
    changed = change_settings(
        Toy(), {"weight": 1, "words": ("c",), "gate": None, "part.side": 3}, model="toy"
    )
    assert changed == Toy(weight=1.0, words=("c",), gate=None, part=Part(side=3))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("how", "three", "one|two (Which way, in two lines.)"),
        ("weight", "much", "number (Weight of it.)"),
        ("weight", "nan", "number"),
        ("count", "1.5", "whole number"),
        ("count", True, "whole number"),
        ("is_on", "1", "true|false"),
        ("gate", "off", "number|none"),
        ("pair", "1,2,3", "whole number,number"),
        ("pair", "1", "whole number,number"),
        ("words", ["a", 3], "text,text,…"),
        ("part.side", "big", "whole number (Side in pixels. Odd.)"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_the_setting_takes(name, value, expected):
    with pytest.raises(InputError) as refused:
        change_settings(Toy(), {name: value}, model="my.model")
    assert refused.value.doing == f"changing the setting {name} of my.model"
    assert refused.value.found == repr(value)
    assert refused.value.expected.startswith(expected)
    assert "lexiseg models my.model" in refused.value.fix


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("wieght", "weight"), ("part", "part.side"), ("side", "part.side"), ("part.sied", "part.side")],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_every_setting(name, nearest):
    with pytest.raises(UnknownNameError) as refused:
        change_settings(Toy(), {name: "1"}, model="toy")
    assert all(f"\n              {row.name}=" in refused.value.expected for row in list_settings(Toy()))
    assert "weight=0.5: Weight of it" in refused.value.expected
    assert "part.side=7: Side in pixels\n" in f"{refused.value.expected}\n"
    assert nearest in refused.value.fix


def test_a_method_without_settings_says_so():
    with pytest.raises(UnknownNameError, match="no setting at all: the method of mini has nothing to set"):
        change_settings(NoSettings(), {"a": "1"}, model="mini")


@pytest.mark.parametrize(("texts", "found"), [(["a"], "'a'"), (["=3"], "'=3'"), (["a=1", "a=2"], "a twice")])
def test_what_is_no_change_is_refused(texts, found):
    with pytest.raises(InputError, match=re.escape(f"reading --set: found {found}")):
        parse_changes(texts)


def test_trained_weights_fix_what_the_dataclass_does_not_free():
    assert change_settings(Toy(), {"part.side": 3}, model="run", trained=True).part.side == 3
    assert change_settings(Toy(), {"count": 3}, model="run", trained=True) == Toy(), "no change is none"
    with pytest.raises(
        InputError,
        match=r"found a model with trained weights.*expected .*: weight, part.side\. .*--method.is-on",
    ):
        change_settings(Toy(), {"is_on": "true"}, model="run", trained=True)
    with pytest.raises(InputError, match="everything that this method can be set to is of its training"):
        change_settings(SimFormerSettings(), {"num_points": 5}, model="run", trained=True)


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (RIMSettings(), "temperature", 0),
        (RIMSettings(), "fusing_threshold", 1.5),
        (RIMSettings(), "num_candidates", 0),
        (MODELS["mini"].settings(), "temperature", -1),
        (MODELS["mini"].settings(), "stride", 0),
        (MODELS["mini"].settings(), "sizes", "1.0,0"),
        (MODELS["mini"].settings(), "sizes", ""),
        (MODELS["mini"].settings(), "min_similarity", 1),
        (SimSegSettings(), "masks.closing", 4),
    ],
)
def test_a_number_that_a_method_cannot_work_with_is_refused_by_its_dataclass(settings, name, value):
    with pytest.raises(InputError, match="reading the settings of"):
        change_settings(settings, {name: value}, model="any")


def _all_settings():
    found = {kind: kind() for kind in (RIMSettings, *(each.settings for each in MODELS.values()))}
    found |= {each.settings: each.settings() for each in CHECKPOINTS.values()}
    return found | {type(recipe.method): recipe.method for recipe in map(find_recipe, TRAINING_RECIPES)}


@pytest.mark.parametrize("settings", _all_settings().values(), ids=lambda each: type(each).__name__)
def test_every_setting_of_every_method_says_what_it_is_and_can_be_listed(settings):
    for row in list_settings(settings):
        assert row.about, f"{row.name} has no attribute line"
        assert change_settings(settings, {row.name: row.value}, model="any") == settings
    names = {each.name for each in fields(settings)}
    free = getattr(type(settings), "CHANGEABLE_AFTER_TRAINING", ())
    assert names.issuperset(part.partition(".")[0] for part in free)
