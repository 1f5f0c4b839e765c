import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import InputError
from lexiseg.data.label_files import read_label_map
from lexiseg.recipes.clip_to_seg import ClipToSegRecipe, tiny
from lexiseg.runs.distil import PSEUDO_MASKS, compare_with_teacher, distil, distil_recipe
from lexiseg.runs.gamma import open_run
from tiny_checkpoints import save_tiny_clip


def photographs(folder: Path, *, classes: bool) -> Path:
    """Write four small images of noise; with classes, the last is listed for scoring and has labels."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for number in range(4):
        pixels = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
    if classes:
        (folder / "labels").mkdir()
        (folder / "classes.txt").write_text("cat\nsky\ndog\n")
        (folder / "seen.txt").write_text("cat\nsky\n")
        (folder / "train.txt").write_text("0\n1\n2\n")
        (folder / "val.txt").write_text("3\n")
        Image.fromarray(rng.integers(0, 3, (40, 56), dtype=np.uint8)).save(folder / "labels/3.png")
    return folder


def small(recipe: ClipToSegRecipe) -> ClipToSegRecipe:
    return dataclasses.replace(
        recipe,
        backbone="tiny",
        data=dataclasses.replace(recipe.data, size=64),
        teacher=dataclasses.replace(recipe.teacher, dimensions=None),
        method=dataclasses.replace(recipe.method, decoder_width=16, decoder_heads=2, windows=(2, 3)),
        student=dataclasses.replace(recipe.student, width=16),
        run=dataclasses.replace(tiny().run, num_steps=2, batch_size=2, device="cpu"),
        short_side=64,
        max_long_side=64,
    )


@pytest.mark.parametrize("labels", ["none", "teacher"])
def test_a_student_is_taught_and_compared(tmp_path, labels):
    teacher, out = save_tiny_clip(tmp_path / "teacher"), tmp_path / "run"
    data = photographs(tmp_path / "data", classes=labels == "teacher")
    recipe = distil_recipe(str(teacher), data, labels=labels, out=out, changes=small)
    student = distil(recipe, out=out, quiet=True)
    assert student.seen == (("cat", "sky", "dog") if labels == "teacher" else ())
    if labels == "teacher":
        masks = sorted(path.stem for path in (out / PSEUDO_MASKS).glob("*.png"))
        assert masks == ["0", "1", "2"]
        assert read_label_map(out / PSEUDO_MASKS / "0.png", 3).shape == (40, 56)
    found = compare_with_teacher(student, recipe)
    assert found.names[0] == str(teacher)
    assert min(found.images_per_second) > 0
    assert (found.results is not None) is (labels == "teacher")
    model, _ = open_run(out)
    assert model.distillation is None


@pytest.mark.parametrize("labels", ["seen", "teacher"])
def test_labels_without_names_are_refused(tmp_path, labels):
    data = photographs(tmp_path, classes=False)
    with pytest.raises(InputError, match=rf"--labels {labels} and no classes\.txt"):
        distil_recipe("mini", data, labels=labels, out=tmp_path / "run", changes=small)


def test_a_run_of_another_method_has_no_gamma(tmp_path):
    from lexiseg.runs.train import train_recipe

    train_recipe("toy_trainable:counts_recipe", out=tmp_path, quiet=True)
    with pytest.raises(InputError, match="a run of CLIP-to-Seg: γ is its setting"):
        open_run(tmp_path, trust=True)
