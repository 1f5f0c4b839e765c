"""The embedded model on real photographs: what a newcomer sees must be right to the eye."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data_dir

import lexiseg

PHOTOGRAPHS = Path(data_dir)


@pytest.fixture(scope="module")
def model() -> lexiseg.Segmenter:
    return lexiseg.load("mini", device="cpu")


def shares(result: lexiseg.Segmentation) -> dict[str, float]:
    return {share.name: share.share for share in result.shares()}


def test_the_cat_is_a_cat(model):
    result = model.segment(PHOTOGRAPHS / "chelsea.png", "dog, cat, car, bird")
    assert shares(result)["cat"] > 0.9
    assert result.label_map.shape == (300, 451)


def test_the_rocket_stands_before_the_sky(model):
    result = model.segment(PHOTOGRAPHS / "rocket.jpg", "rocket, sky, cat")
    names = result.vocabulary.names
    assert names[result.label_map[250, 320]] == "rocket"
    assert names[result.label_map[60, 200]] == "sky"
    assert shares(result).get("cat", 0) < 0.02


def test_the_cup_is_a_cup(model):
    result = model.segment(PHOTOGRAPHS / "coffee.png", "cup, dog, bicycle")
    assert result.vocabulary.names[result.label_map[150, 300]] == "cup"
    assert shares(result)["cup"] > 0.5


def test_the_astronaut_is_a_person(model):
    result = model.segment(PHOTOGRAPHS / "astronaut.png", "person, cat, rocket")
    assert result.vocabulary.names[result.label_map[150, 220]] == "person"


def test_refined_borders_lie_on_edges_of_the_image(model):
    image = PHOTOGRAPHS / "coffee.png"
    contrast = {}
    for how in ("none", "guided"):
        result = model.segment(image, "cup, table", refine=how)
        grey = result.image.mean(axis=2)
        borders = result.label_map[:, 1:] != result.label_map[:, :-1]
        contrast[how] = np.abs(np.diff(grey, axis=1))[borders].mean()
    assert contrast["guided"] > 1.5 * contrast["none"]


def test_ten_thousand_words_still_find_the_cat(model):
    others = [f"thing number {index}" for index in range(9_999)]
    with Image.open(PHOTOGRAPHS / "chelsea.png") as photograph:  # small: each of 10,000 maps is upsampled
        encoded = model.encode(photograph.convert("RGB").resize((180, 120)), short_side=224)
    embeddings = model.embed_texts

    def cheap(names, prompts):  # 10,000 real embeddings cost a minute; the numbered things get noise
        real = embeddings(names[:1], prompts)
        noise = np.random.default_rng(0).random((len(names) - 1, real.shape[1]), np.float32) * 1e-3
        return np.concatenate([real.numpy(), noise])

    import torch

    model.embed_texts = lambda names, prompts: torch.from_numpy(cheap(names, prompts))  # type: ignore[method-assign]
    try:
        result = model.segment(encoded, ["cat", *others])
    finally:
        del model.embed_texts
    assert shares(result)["cat"] > 0.9


DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.exhaustive
@pytest.mark.skipif(not (DATA / "coco-free").is_dir(), reason="coco-free is not beside the project")
def test_real_labelled_photographs_score_far_above_the_plain_recipe():
    import json

    model = lexiseg.load(
        "mini", device="cpu", method_settings={"head": "none"}
    )  # the head was trained on some of them

    dataset = lexiseg.FolderDataset(DATA / "coco-free")
    measured = json.loads((Path(__file__).parents[2] / "benchmarks/accuracy/mini.json").read_text())["rows"]
    plain = next(row for row in measured if row["name"] == "plain recipe")["coco-free"]["mean_iou"]
    report = lexiseg.evaluate(model, dataset)
    assert report.num_images == 26
    assert report.scores.mean_iou > 2 * plain
