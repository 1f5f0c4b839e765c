"""What ``lexiseg.load`` takes as a name."""

from pathlib import Path

import pytest

import lexiseg
from lexiseg.core.errors import InputError, MissingWeightsError, UnknownNameError
from tiny_checkpoints import save_tiny_siglip


def test_a_path_is_a_name(tmp_path):
    folder = save_tiny_siglip(tmp_path / "siglip")
    assert lexiseg.load(folder, device="cpu").name == str(folder)


def test_a_path_that_is_no_checkpoint_is_unknown_or_missing(tmp_path):
    with pytest.raises(UnknownNameError, match="Nearest: mini"):
        lexiseg.load(Path("minni"))
    with pytest.raises(MissingWeightsError, match="found no folder of that name"):
        lexiseg.load(tmp_path / "absent")


@pytest.mark.parametrize("name", [None, 3, b"mini", ["mini"]])
@pytest.mark.usefixtures("without_type_checker")
def test_what_is_no_name_is_refused(name):
    with pytest.raises(
        InputError, match=rf"a {type(name).__name__}; expected a name, a hub id or the path of a run"
    ):
        lexiseg.load(name)
