"""Tables from file values to classes and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexiseg.data.datasets import DATASETS
from lexiseg.data.published.coco import GAPS, STUFF_VALUES
from lexiseg.data.published.label_encodings import TOP, LabelMapping, identity, shifted, spans

CODES = [
    pytest.param(layout.mapping, facts.num_classes, id=f"{facts.name} {layout.name}")
    for facts in DATASETS.values()
    for layout in facts.layouts
    if isinstance(layout.mapping, LabelMapping)
]


@pytest.mark.parametrize(("mapping", "num_classes"), CODES)
def test_every_class_has_a_value_and_comes_back(mapping, num_classes):
    labels = np.arange(num_classes, dtype=np.uint16)[None]
    values = mapping.from_classes(labels)
    if 0 in mapping.classes.values() and set(mapping.classes.values()) == set(range(num_classes)):
        np.testing.assert_array_equal(mapping.to_classes(values), labels)
    assert set(mapping.classes.values()) == set(range(num_classes))


@pytest.mark.parametrize(("mapping", "num_classes"), CODES)
def test_void_comes_back_as_void_where_the_code_has_it(mapping, num_classes):
    void = np.array([[TOP]], np.uint16)
    if mapping.void:
        assert mapping.to_classes(mapping.from_classes(void)).tolist() == [[TOP]]


def test_coco_has_eleven_gaps_and_171_values():
    assert len(GAPS) == 11
    assert len(STUFF_VALUES) == 171
    assert STUFF_VALUES[79:81] == (89, 91)


def test_reduce_zero_by_table_keeps_void():
    values = np.array([[0, 1, 2, 20, 65535]], np.uint16)
    assert shifted(20).to_classes(values).tolist() == [[65535, 0, 1, 19, 65535]]


@given(st.sets(st.integers(0, 300), min_size=1))
def test_spans_say_each_number_once(numbers):
    said: list[int] = []
    for part in spans(numbers).split(", "):
        first, _, last = part.partition(" to ")
        said += range(int(first), int(last or first) + 1)
    assert said == sorted(numbers)


def test_unknown_values_are_picked():
    assert identity(3).unknown([0, 2, 3, 65535, 9]) == [3, 9]


def test_description_names_void():
    assert identity(3).describe() == "0 to 2; void 255 (65535 in 16 bits)"
    assert shifted(3).describe() == "1 to 3; void 0 and 255 (65535 in 16 bits)"
    assert identity(3, void=()).describe() == "0 to 2; no void"
