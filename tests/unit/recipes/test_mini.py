import hashlib

import numpy as np
import pytest
import torch

from lexiseg.models.name_head import pack_name_head
from lexiseg.recipes.mini import MINI_WEIGHTS, build_mini
from lexiseg.runs.load import load

images = pytest.importorskip("skimage.data", reason='needs pip install "lexiseg[demo]"')
pytestmark = pytest.mark.skipif(
    any(part.state() != "intact" for part in MINI_WEIGHTS), reason='needs pip install "lexiseg[mini]"'
)


@pytest.fixture(scope="module")
def mini():
    return build_mini().eval()


def shares(model, image, words: list[str]) -> dict[str, float]:
    labels = model.segment(image, words).label_map
    return {word: float((labels == label).mean()) for label, word in enumerate(words)}


def test_the_cat_is_a_cat_and_not_the_background(mini):
    found = shares(mini, images.chelsea(), ["cat", "dog", "background"])
    assert found["cat"] > 0.6
    assert found["background"] > 0.05
    assert found["dog"] == 0


def test_the_astronaut_is_a_person_before_a_wall(mini):
    found = shares(mini, images.astronaut(), ["person", "wall", "giraffe"])
    assert found["person"] > 0.5
    assert found["wall"] > 0.05
    assert found["giraffe"] == 0


def test_sky_is_above_the_rocket(mini):
    labels = mini.segment(images.rocket(), ["rocket", "sky"]).label_map
    height, width = labels.shape
    assert (labels[: height // 4] == 1).mean() > 0.6
    assert labels[int(0.6 * height), width // 2] == 0


def test_the_record_names_method_and_weights(mini):
    recorded = mini.describe(["cat"])["settings"]
    assert recorded["model"] == "mini"
    assert recorded["method"]["image_weights"] == MINI_WEIGHTS[0].sha256
    assert recorded["method"]["image_weight"] == 1.5


def test_people_are_told_that_it_is_a_floor_and_what_is_stronger(mini):
    assert mini.notice.startswith("mini is a floor")
    assert "--model openai/clip-vit-large-patch14" in mini.notice


def test_the_head_is_asked_for_by_a_setting_and_recorded(mini, tmp_path, monkeypatch):
    names, weight = ["person", "wall"], torch.zeros(112 + 1280 + 5 + 4, 2)
    weight[-1, 0] = 1.0  # all is a person
    content = pack_name_head(names, weight, temperature=0.1, none_score=0.4)
    file = tmp_path / "head.safetensors"
    file.write_bytes(content)
    monkeypatch.setattr("lexiseg.recipes.mini.HEAD_FILE", file)
    model = load("mini", device="cpu", method_settings={"head": "masks"})
    assert model.method_settings["head_weights"] == hashlib.sha256(content).hexdigest()
    assert shares(model, images.rocket(), ["wall", "person"])["person"] == 1
    words = "dress, jeans, rocket"  # no name of the head is among them
    without, with_head = (each.segment(images.astronaut(), words) for each in (mini, model))
    assert np.array_equal(without.score_map, with_head.score_map)
    assert np.array_equal(without.label_map, with_head.label_map)


def test_no_head_is_the_default(mini):
    assert mini.head is None
    assert "head_weights" not in load("mini", device="cpu", method_settings={"head": "none"}).method_settings
