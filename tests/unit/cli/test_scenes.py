from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from lexiseg.cli.scenes import SceneOptions, Scenes
from lexiseg.core.errors import InputError


def run(*arguments: object) -> int:
    return tyro.cli(Scenes, args=[str(a) for a in arguments], config=(tyro.conf.OmitArgPrefixes,)).run()


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    folder = tmp_path / "cutouts"
    folder.mkdir()
    for name, colour in (("owl", (200, 90, 20)), ("banana", (240, 220, 40))):
        image = np.zeros((40, 40, 4), np.uint8)
        image[8:32, 8:32] = (*colour, 255)
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


def test_make_writes_a_data_folder_and_the_same_command_goes_on(tmp_path, capsys):
    out = tmp_path / "made"
    arguments = ("make", out, "--preset", "weak-shot", "--num", 8, "--hide-unseen")
    assert run(*arguments) == 0
    assert "8 scenes written" in capsys.readouterr().out
    assert len(list((out / "images").iterdir())) == 8
    assert (out / "seen.txt").is_file()
    assert len((out / "val.txt").read_text().split()) == 2
    sorted((out / "images").iterdir())[3].unlink()
    assert run(*arguments) == 0
    assert "7 were there already" in capsys.readouterr().out


def test_show_draws_a_sheet_and_refuses_what_is_no_image(tmp_path):
    sheet = tmp_path / "sheet.png"
    assert run("show", sheet, "--num", 3) == 0
    assert Image.open(sheet).size[0] > 64
    with pytest.raises(InputError, match=r"sheet\.txt"):
        run("show", tmp_path / "sheet.txt")


def test_cutouts_are_pasted_and_some_are_held_out(tmp_path, cutouts):
    assert (
        run(
            "make",
            tmp_path / "pasted",
            "--from",
            cutouts,
            "--unseen",
            "owl",
            "--num",
            4,
            "--things-per-scene",
            1,
            1,
        )
        == 0
    )
    assert "owl" not in (tmp_path / "pasted" / "seen.txt").read_text().split()
    assert "owl" in (tmp_path / "pasted" / "classes.txt").read_text()


def test_options_change_the_preset_and_nothing_else():
    plain, changed = SceneOptions(preset="weak-shot"), SceneOptions(preset="weak-shot", unseen="star, sky")
    assert plain.settings().unseen == ("fish", "tree", "sand")
    assert changed.settings().unseen == ("star", "sky")
    assert changed.settings().pairs == plain.settings().pairs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": "owl"}, "--names without --from"),
        ({"from_": Path("x"), "preset": "curation"}, "--preset with --from"),
        ({"from_": Path("x"), "things": 3}, "--things with --from"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SceneOptions(**options).settings()
