"""``lexiseg distil`` and ``lexiseg gamma`` from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli import main
from tiny_checkpoints import save_tiny_clip


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def photographs(folder: Path) -> Path:
    """Write four small images of noise with labels; the last two are listed for scoring."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(4):
        pixels = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
        labels = rng.integers(0, 3 if number > 1 else 2, (40, 56), dtype=np.uint8)
        Image.fromarray(labels).save(folder / f"labels/{number}.png")
    (folder / "classes.txt").write_text("cat\nsky\ndog\n")
    (folder / "seen.txt").write_text("CAT\n Sky \n")  # however they are spelt
    (folder / "val.txt").write_text("2\n3\n")
    return folder


@pytest.mark.exhaustive
def test_a_student_is_compared_with_its_teacher_and_its_gammas_are_swept(tmp_path, capsys):
    teacher, data, out = (
        save_tiny_clip(tmp_path / "teacher"),
        photographs(tmp_path / "data"),
        tmp_path / "run",
    )
    small = (
        "--student",
        "tiny",
        "--num-steps",
        2,
        "--batch-size",
        2,
        "--size",
        64,
        "--device",
        "cpu",
        "--freeze",
    )
    assert run("distil", "--teacher", teacher, "--data", data, "--out", out, "--labels", "seen", *small) == 0
    printed = capsys.readouterr().out
    compared = json.loads((out / "comparison.json").read_text())
    assert [model["num_images"] for model in compared["models"]] == [2, 2]
    for model in compared["models"]:
        for name in ("mean_iou", "seen_mean_iou", "unseen_mean_iou", "harmonic_iou"):
            assert model[name]["low"] <= model[name]["value"] <= model[name]["high"]
        assert f"{100 * model['mean_iou']['value']:.2f}" in printed
    assert "student minus teacher" in printed

    swept = tmp_path / "gamma.json"
    assert run("gamma", out, "--gammas", -50, 0, 50, "--json", swept, "--device", "cpu") == 0
    table = json.loads(swept.read_text())
    assert table["regime"] == "inductive"
    assert [entry["gamma"] for entry in table["gammas"]] == [-50, 0, 50]
    assert table["gammas"][0]["unseen"] == 0
    assert table["gammas"][2]["seen"] == 0
    assert "best harmonic mean: --method.gamma" in capsys.readouterr().out

    assert run("gamma", out, "--data", tmp_path / "none") == 2
    assert "none" in capsys.readouterr().err


def test_without_masks_images_to_score_are_not_trained_with(tmp_path):
    from lexiseg.recipes.clip_to_seg import folder
    from lexiseg.runs.distil import distil_recipe

    data = photographs(tmp_path)
    recipe = distil_recipe("mini", data, labels="none", out=tmp_path / "run", changes=lambda recipe: recipe)
    assert recipe.data.training_images(0).stems == ["0", "1"]
    view = recipe.data.masked_labels(0)
    assert view.names == ()
    assert view[0].label_map is None
    assert folder().data.masks == "seen"
