"""The front door in-process: start says what a folder allows, and the commands that it prints run as printed."""

import dataclasses
import json
import shlex
from contextlib import contextmanager
from importlib import import_module

import pytest
import tyro

from lexiseg.cli import COMMANDS
from lexiseg.cli import main as run_command
from lexiseg.core.errors import DatasetError
from lexiseg.data.inventory import take_inventory
from lexiseg.recipes.base import find_recipe
from lexiseg.runs.regimes import advise
from sky_and_grass import write_folder

#: What a folder has, and what start says of it.
FOLDERS = {
    "masks": ({"num_masks": 12}, "masks for all classes"),
    "masks and tags": (
        {"num_masks": 8, "seen": ("sky", "grass"), "tags": True},
        "masks for some classes, image tags for the others",
    ),
    "masks and names": (
        {"num_masks": 12, "seen": ("sky", "grass")},
        "masks for some classes, only names for the others",
    ),
    "tags": ({"tags": True}, "image tags"),
    "captions": ({"captions": True}, "images with captions"),
    "names": ({}, "class names alone"),
}


def parse(line):
    """Read a command line as its command does, without running it."""
    name, *rest = shlex.split(line)[1:]
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(f"lexiseg.cli.{module}"), attribute)
    if hasattr(command, "from_arguments"):
        command.from_arguments(rest)
    else:
        tyro.cli(command, args=rest, config=(tyro.conf.OmitArgPrefixes,))


def main(arguments):
    """Run a command that works."""
    with pytest.raises(SystemExit) as stopped:
        run_command(arguments)
    assert stopped.value.code == 0


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("num_val", [0, 2], ids=["none scored", "some scored"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_start_chooses_by_what_there_is_to_learn_from(tmp_path, folder, num_val):
    has, regime = FOLDERS[folder]
    found = take_inventory(write_folder(tmp_path / "mydata", num=14, num_val=num_val, **has))
    assert found.num_scored == num_val
    assert len(found.labelled) == has.get("num_masks", 0)
    advice = advise(found, has_val=False)
    assert advice.best.regime == regime
    for way in (advice.best, *advice.others):
        for command in way.commands:
            parse(command)


def without_tags(lines):
    """Leave one image with neither masks nor tags."""
    return [line for line in lines if not line.startswith("13\t")]


def without_grass(lines):
    """Leave a class with masks out of an image's tags, as people do who tag what is large."""
    return ["00\tsky\n", *lines]


@pytest.mark.parametrize("change", [list, without_tags, without_grass])
def test_simformer_is_named_only_where_its_training_takes_the_folder(tmp_path, change):
    path = write_folder(tmp_path / "mydata", num=14, num_masks=8, seen=("sky", "grass"), tags=True)
    lines = (path / "tags.tsv").read_text().splitlines(keepends=True)
    (path / "tags.tsv").write_text("".join(change(lines)))
    advice = advise(take_inventory(path), has_val=False)
    named = [command for way in advice.others for command in way.commands if "simformer" in command]
    source = dataclasses.replace(find_recipe("simformer/folder-frozen").data, path=path)
    if change is list:
        assert named
        source.masked_labels(0)
        return
    assert not named
    with pytest.raises(DatasetError) as refused:
        source.masked_labels(0)
    assert any(refused.value.found in text for text in advice.missing)


@pytest.mark.exhaustive
def test_a_written_folder_fits_by_the_command_that_was_printed(tmp_path, capsys):
    write_folder(tmp_path / "mydata", num=14, num_masks=12)
    main(["start", "mydata", "--write", "--backbone", "tiny", "--json", "start.json"])
    said = capsys.readouterr().out
    assert "on this machine (tiny," in said
    assert "written: mydata/val.txt, mydata/train.txt, mydata/lexiseg.toml" in said
    val = (tmp_path / "mydata/val.txt").read_text().split()
    train = (tmp_path / "mydata/train.txt").read_text().split()
    assert len(val) == 3
    assert sorted(val + train) == [f"{number:02}" for number in range(14)]
    (command,) = json.loads((tmp_path / "start.json").read_text())["best"]["commands"]
    main([*shlex.split(command)[1:], "--backbone", "tiny"])
    said = capsys.readouterr().out
    assert "validation: mean_iou" in said
    assert "lexiseg evaluate mydata-head --data mydata --split val" in said
    main(["start", "mydata", "--write", "--backbone", "tiny"])
    said = capsys.readouterr().out
    assert "written: nothing; all is there" in said
    assert "as measured before" in said
    main(["fit", "mydata", "--config", "mydata/lexiseg.toml", "--overwrite"])
    assert "the model:  mydata-head" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder.mkdir(), "no image in"),
        (lambda folder: None, "no folder there"),
        (lambda folder: folder.write_text("x"), "a file"),
    ],
    ids=["empty", "absent", "a file"],
)
def test_what_cannot_be_read_is_refused_with_what_can(tmp_path, make, said, capsys):
    make(tmp_path / "what")
    with pytest.raises(SystemExit) as stopped:
        run_command(["start", "what"])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_images_alone_are_for_words(tmp_path, capsys):
    write_folder(tmp_path / "mydata", num=2)
    main(["start", "mydata/images"])
    said = capsys.readouterr().out
    assert "Begin with: photographs and words" in said
    assert 'lexiseg segment mydata/images --words "cat, sofa, floor"' in said


def test_exchange_and_next_print_draw_and_write(tmp_path, capsys):
    write_folder(tmp_path / "mydata", num=16, num_masks=12)
    main(
        [
            "exchange",
            "mydata",
            "--backbone",
            "tiny",
            "--masks",
            "2",
            "--divisions",
            "1",
            "--plot",
            "p.png",
            "--json",
            "e.json",
        ]
    )
    said = capsys.readouterr().out
    assert "2 masks a class gain" in said.replace("\n", " ")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert [row["labels"] for row in json.loads((tmp_path / "e.json").read_text())["regimes"]][
        -1
    ] == "all masks"
    main(["next", "mydata", "--backbone", "tiny", "--num", "2", "--json", "n.json"])
    assert capsys.readouterr().out.startswith("Mask these 2 of 4 images without masks next:")
    chosen = [row["stem"] for row in json.loads((tmp_path / "n.json").read_text())["images"]]
    assert set(chosen) < {"12", "13", "14", "15"}


@pytest.mark.parametrize("num_val", [0, 4])
def test_fit_counts_the_images_that_it_reads(tmp_path, monkeypatch, num_val):
    write_folder(tmp_path / "mydata", num=12 + num_val, num_masks=12, num_val=num_val)
    counted = {}

    @contextmanager
    def counting(what, total):
        done = []
        yield lambda: done.append(1)
        counted[what] = total, len(done)

    monkeypatch.setattr("lexiseg.cli.fit.progress", counting)
    arguments = ["--use", "masks", "--backbone", "tiny", "--prior", "none"]
    main(["fit", str(tmp_path / "mydata"), "--out", str(tmp_path / "head"), *arguments])
    assert counted == {"images": (12, 12), "scoring": (num_val, num_val)}
