"""Settings say what cannot be used, before anything is done with it."""

import pytest

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.inference.settings import InferenceSettings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("short_side", "448", "a whole number above 0"),
        ("short_side", 448.0, "a whole number above 0"),
        ("short_side", True, "a whole number above 0"),
        ("max_long_side", None, "a whole number above 0"),
        ("memory_mb", 0, "a whole number above 0"),
        ("window", "224", "a whole number above 0"),
        ("threshold", float("nan"), "a number on the model's score scale"),
        ("threshold", float("inf"), "a number on the model's score scale"),
        ("threshold", "0.2", "a number on the model's score scale"),
        ("prompts", 7, "the name of a prompt set"),
        ("prompts", None, "the name of a prompt set"),
        ("refine", ["none"], "one of: none, guided"),
    ],
)
@pytest.mark.usefixtures("without_type_checker")
def test_a_value_of_the_wrong_kind_is_refused(name, value, expected):
    with pytest.raises(InputError) as caught:
        InferenceSettings(**{name: value})
    assert f"found {name} = {value!r}; expected {expected}" in str(caught.value)


def test_an_unknown_prompt_set_is_refused():
    with pytest.raises(UnknownNameError, match="Nearest: imagenet80"):
        InferenceSettings(prompts="imagenet")


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"threshold": 0.2}, "threshold = 0.2 with background = 'none'", "--background threshold"),
        ({"threshold": 0.2, "background": "name"}, "with background = 'name'", 'background="threshold"'),
        ({"window_stride": 8}, "window_stride = 8 without windows", "--window PIXELS"),
    ],
)
def test_a_change_without_effect_is_refused(changes, found, expected):
    with pytest.raises(InputError) as caught:
        InferenceSettings().changed(**changes)
    assert found in caught.value.found
    assert expected in caught.value.expected


def test_a_change_may_lean_on_what_a_model_has_chosen():
    model = InferenceSettings(background="threshold", threshold=0.5, window=32, window_stride=16)
    assert model.changed(threshold=0.2).threshold == 0.2
    assert model.changed(window_stride=8).window_stride == 8
    assert model.changed(background="none").background == "none"
    assert model.changed(window=None, threshold=None).window is None
