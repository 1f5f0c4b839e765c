import json

import numpy as np
import pytest
import torch

from lexiseg.core.errors import CheckpointError
from lexiseg.models.clipseg import load_clipseg
from lexiseg.runs.load import load
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, change_json, save_tiny_clipseg


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_clipseg(tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder, device="cpu")


def published_answer(folder, image, texts):
    """What transformers' own class draws, an image for every sentence."""
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

    theirs = CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    tokens = CLIPTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGE_MEAN, IMAGE_STD))
    pixels = (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        return theirs(pixel_values=pixels[None].expand(len(texts), -1, -1, -1), **tokens).logits


def test_it_draws_what_transformers_own_class_draws(folder, model):
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    names = ["cat", "dog", "grass"]
    expected = published_answer(folder, image, [f"a photo of a {name}." for name in names])
    found = model.segment(image, names, all_scores=True)
    np.testing.assert_allclose(found.score_map, expected.max(0).values, rtol=1e-3, atol=1e-3)
    assert (found.label_map == expected.argmax(0).numpy()).mean() > 0.999
    assert expected.std() > 0.01


def test_an_image_of_any_shape_is_squashed_and_keeps_its_size(model):
    image = np.random.default_rng(0).integers(0, 255, (30, 75, 3), dtype=np.uint8)
    assert model.segment(image, ["cat", "dog"]).label_map.shape == (30, 75)
    assert model.settings.short_side == model.settings.max_long_side == 48


def test_many_names_are_drawn_in_groups_and_are_the_same(model):
    images = torch.rand(1, 3, 48, 48)
    names = [f"thing {number}" for number in range(70)]
    with torch.inference_mode():
        features = model.encode_images(images)
        together = model.class_scores(features, model.embed_texts(names, "single"))
        alone = model.class_scores(features, model.embed_texts(names[66:67], "single"))
    torch.testing.assert_close(together[:, 66:67], alone, atol=1e-3, rtol=1e-3)


def test_a_threshold_paints_background(model):
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    plain = model.segment(image, ["cat", "dog"])
    found = model.segment(
        image, ["cat", "dog"], background="threshold", threshold=float(np.median(plain.score_map))
    )
    share = (found.label_map == found.vocabulary.background).mean()
    assert 0.4 < share < 0.6


def test_another_tokenizer_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = {**json.loads((tmp_path / "config.json").read_text())["text_config"], "eos_token_id": 5}
    change_json(tmp_path / "config.json", text_config=text)
    with pytest.raises(CheckpointError, match="token ids"):
        load_clipseg(tmp_path)
