"""Text is a whole number in one sense everywhere."""

import re
from pathlib import Path

import pytest

import lexiseg
from lexiseg.core.whole_numbers import whole_number

SOURCE = Path(lexiseg.__file__).parent


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), (" 007\t", 7), ("1\x1c", 1), ("٣", 3), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5000, None),
     ("", None), ("-1", None), ("1.0", None), ("1_0", None), ("²", None), ("x", None)],
)  # fmt: skip
def test_what_is_a_number(text, number):
    assert whole_number(text) == number


def test_nobody_asks_python_whether_text_is_a_number():
    asked = re.compile(r"\.is(decimal|digit|numeric)\(\)")
    allowed = {"core/whole_numbers.py", "core/fonts.py"}  # the latter reads what fc-list prints
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if asked.search(path.read_text(encoding="utf-8"))
    }
    assert found == allowed
