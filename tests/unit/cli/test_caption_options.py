"""Names of columns and splits reach whatever opens captions, under the same flags."""

from pathlib import Path

import pytest
import tyro

from caption_files import image_bytes
from lexiseg.cli.captions import CheckCaptions, PackCaptions
from lexiseg.cli.curate import CurateAll, EmbedCaptions
from lexiseg.cli.retrieve import Retrieve
from lexiseg.cli.train import Train
from lexiseg.data.captions.records import CaptionColumns

FLAGS = ["--image-column", "foto", "--caption-column", "satz", "--key-column", "name", "--split", "train"]
WANTED = CaptionColumns(image="foto", caption="satz", key="name")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (CheckCaptions, ["data"]),
        (PackCaptions, ["data", "--out", "o"]),
        (EmbedCaptions, ["data", "--out", "o"]),
        (CurateAll, ["data", "--out", "o"]),
        (Retrieve, ["run", "--captions", "data"]),
    ],
)
def test_commands_take_the_names_of_columns(command, arguments):
    given = tyro.cli(command, args=[*arguments, *FLAGS])
    assert (given.columns(), given.split) == (WANTED, "train")


@pytest.mark.parametrize("recipe", ["simseg/paper", "groupvit/paper", "cocu/folder"])
def test_training_on_captions_takes_them_too(recipe):
    settings = Train.from_arguments([recipe, "--out", "o", *FLAGS]).options.settings
    found = CaptionColumns(
        image=settings.image_column, caption=settings.caption_column, key=settings.key_column
    )
    assert (found, settings.split) == (WANTED, "train")


def test_a_recipe_opens_what_the_names_name(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.jpg").write_bytes(image_bytes(0))
    (tmp_path / "metadata.csv").write_text("foto,satz,name\nimages/0.jpg,ein Hund,x\n")
    (tmp_path / "train.txt").write_text("x\n")
    arguments = ["simseg/paper", "--out", "o", "--captions", str(tmp_path), *FLAGS]
    data = Train.from_arguments([*arguments, "--run.batch-size", "1"]).options.settings.build_data()
    data.list_broken_in(tmp_path / "broken")
    (batch,) = data.batches(start_step=0, stop_step=1)
    assert batch.sources == ("images#x",)
