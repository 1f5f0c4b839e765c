import dataclasses
import json

import pytest

from curation_toys import contents, curate, write_images, write_words
from lexiseg.engine.optim import lr_factor
from lexiseg.models.groupvit_shape import GroupViTShape
from lexiseg.recipes import cocu
from lexiseg.recipes.base import find_recipe
from lexiseg.recipes.word_settings import CurationSettings
from lexiseg.runs.settings_json import settings_from_json, settings_to_json
from lexiseg.runs.train import train_recipe

SMALL = GroupViTShape(
    width=16, num_heads=1, patch=16, image_side=32, depths=(1, 1), group_tokens=(3, 0), groups=(2, 0),
    feed_forward=16, text_width=16, text_depth=1, text_heads=1, text_feed_forward=16, projection_hidden=16,
    embedding_dim=8, projection_norm="layer",
)  # fmt: skip


@pytest.mark.parametrize("name", ["cocu/paper", "cocu/folder", "cocu/scenes", "cocu/tiny"])
def test_recipes_are_plain_values_and_come_back_the_same(name):
    settings = find_recipe(name)
    written = json.loads(json.dumps(settings_to_json(settings)))
    assert settings_from_json(type(settings), written, source="here") == settings
    assert settings.curation is not None


def test_the_recipe_of_the_paper_is_groupvits_at_a_quarter_of_its_batch():
    recipe = cocu.paper()
    assert (recipe.shape, recipe.run.batch_size, recipe.run.num_steps) == (GroupViTShape(), 1024, 790_603)
    rates = [recipe.optim.lr * lr_factor(recipe.optim, step, 30_000) for step in (0, 2000, 30_000)]
    assert rates == pytest.approx([1e-6, 4e-4, 1e-5], rel=1e-6)
    assert (recipe.words.count, recipe.curation.sampling) == (3, "cluster")


def test_curated_captions_are_trained_on_and_the_curation_stays_as_it_was_p11(tmp_path):
    data = write_images(tmp_path / "data", 14)
    curate(data, tmp_path / "curated", write_words(tmp_path / "words"))
    before = contents(tmp_path / "curated")
    recipe = cocu.folder()
    run = dataclasses.replace(
        recipe.run, num_steps=2, batch_size=4, sub_batch_size=2, num_workers=0, device="cpu", precision="fp32"
    )
    recipe = dataclasses.replace(
        recipe,
        shape=SMALL,
        captions=data,
        curation=CurationSettings(folder=tmp_path / "curated", sampling="top"),
        run=run,
        test_side=32,
    )
    model = train_recipe("cocu/folder", recipe=recipe, out=tmp_path / "run", quiet=True)
    assert contents(tmp_path / "curated") == before
    # Nothing of the encoder that curated is in the network: what is trained is GroupViT's.
    trained = {name for group in model.parameter_groups() for name, _ in group.parameters}
    plain = dataclasses.replace(recipe, curation=None).build_model()
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in plain.named_parameters()}
    assert trained <= {name for name, _ in plain.named_parameters()}
    facts = json.loads((tmp_path / "run" / "data.json").read_text())["facts"]
    assert facts["word_prompts"].startswith("curated concepts, top")


def test_scenes_without_curation_are_asked_for_words_of_their_captions():
    recipe = cocu.tiny()
    asked = {}
    for name, curation in (("curated", recipe.curation), ("plain", None)):
        data = dataclasses.replace(recipe, curation=curation).build_data()
        (batch,) = data.batches(start_step=0, stop_step=1)
        asked[name] = batch
    assert asked["plain"].captions == asked["curated"].captions
    for caption, texts in zip(asked["plain"].captions, asked["plain"].word_prompts, strict=True):
        assert {
            text.removeprefix("a photo of a ").removesuffix(".") for text in texts if text != caption
        } <= set(caption.split())
    assert asked["plain"].word_prompts != asked["curated"].word_prompts


def test_what_is_measured_of_scenes(tmp_path):
    recipe = dataclasses.replace(cocu.tiny(), num_scenes=4)
    found = recipe.evaluate(recipe.build_model().eval())
    assert set(found) == {"mean_iou", "things_mean_iou", "stuff_mean_iou", "one_class_mean_iou", "paraphrase"}
    assert all(0 <= found[name] <= 1 for name in found if name != "paraphrase")
    assert -1 <= found["paraphrase"] <= 1
