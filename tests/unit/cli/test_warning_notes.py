import warnings

import pytest

from lexiseg.cli.warning_notes import warnings_as_notes
from lexiseg.data.images import ImageWarning


@pytest.fixture
def shown(capsys):
    def show(messages):
        with warnings.catch_warnings():  # pytest records warnings in another way
            warnings.simplefilter("always")
            with warnings_as_notes():
                for message in messages:
                    warnings.warn(message, stacklevel=1)
        return capsys.readouterr().err.splitlines()

    return show


def test_a_warning_is_one_line_without_code(shown):
    assert shown(["something is odd"]) == ["note: something is odd"]


def test_of_many_images_with_one_trouble_the_first_is_named_and_the_others_counted(shown):
    images = [ImageWarning(f"{number}.png is dark", "dark image") for number in range(4)]
    assert shown([*images, ImageWarning("a.gif has 2 frames", "several frames")]) == [
        "note: 0.png is dark",
        "note: a.gif has 2 frames",
        "note: 3 more: dark image",
    ]


def test_what_was_said_is_not_said_again(shown):
    assert shown(["something is odd", "another", "something is odd"]) == [
        "note: something is odd",
        "note: another",
    ]


def test_the_usual_way_of_showing_comes_back():
    before = warnings.showwarning
    with pytest.raises(KeyError), warnings_as_notes():
        raise KeyError
    assert warnings.showwarning is before
