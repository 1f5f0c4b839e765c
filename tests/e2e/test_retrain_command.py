"""``lexiseg retrain`` and SimFormer's settings from the command line."""

import hashlib
from pathlib import Path

import pytest

import lexiseg
from lexiseg.cli.retrain import Retrain
from lexiseg.cli.train import Train

SMALL = ("--run.num-steps", "2", "--run.batch-size", "4", "--data.num-scenes", "8", "--quiet")
SMALL += ("--pseudo-masks.min-pixels", "0")  # two steps find nothing


def digests(folder: Path) -> dict[str, str]:
    files = [*folder.rglob("*.png"), *folder.rglob("model.safetensors"), *folder.rglob("log.jsonl")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def retrain(*arguments: object) -> int:
    return Retrain.from_arguments([str(argument) for argument in arguments]).run()


@pytest.mark.exhaustive
def test_it_trains_twice_and_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "run"
    assert retrain("simformer/tiny", "--out", out, *SMALL) == 0
    assert {path.name for path in out.iterdir()} == {"first", "pseudo_masks", "second"}
    assert lexiseg.load(out / "second", device="cpu").vocabulary.names[0] == "person"
    before = digests(out)
    (out / "second" / "model.safetensors").unlink()
    next((out / "pseudo_masks").glob("*.png")).unlink()
    assert retrain("simformer/tiny", "--out", out, *SMALL, "--resume") == 0
    assert digests(out) == before


def test_help_names_the_command(capsys):
    assert retrain("--help") == 0
    assert "usage: lexiseg retrain RECIPE --out RUN" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        retrain("simformer/tiny", "--help")
    assert "usage: lexiseg retrain simformer/tiny" in capsys.readouterr().out


def test_a_recipe_of_another_method_is_refused(tmp_path):
    with pytest.raises(lexiseg.LexisegError, match="leaves nothing to re-train"):
        retrain("simseg/tiny", "--out", tmp_path / "run", "--quiet")


def test_a_part_of_a_recipe_that_may_be_missing_has_flags_like_any_other():
    read = Train.from_arguments(["simformer/folder", "--out", "run", "--data.crop.size", "64"])
    assert read.options.settings.data.crop.size == 64
