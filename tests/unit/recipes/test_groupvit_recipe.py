import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import lexiseg
from caption_files import write_folder
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.core.interfaces import ExplainingModel
from lexiseg.data.captions.word_prompts import NltkTagger, WordListTagger
from lexiseg.data.scenes.settings import localisation_scenes
from lexiseg.engine.optim import lr_factor
from lexiseg.models.groupvit_shape import GroupViTShape
from lexiseg.models.text_tokens import BytePairTokenizer
from lexiseg.recipes import groupvit
from lexiseg.recipes.word_settings import WordSettings
from lexiseg.runs.settings_json import settings_from_json, settings_to_json
from lexiseg.runs.train import train_recipe
from tiny_checkpoints import save_tiny_groupvit

SMALL = GroupViTShape(
    width=16, num_heads=1, patch=16, image_side=32, depths=(1, 1, 1), group_tokens=(3, 2, 0), groups=(3, 2, 0),
    feed_forward=16, text_width=16, text_depth=1, text_heads=1, text_feed_forward=16, projection_hidden=16,
    embedding_dim=8, projection_norm="layer",
)  # fmt: skip


@pytest.mark.parametrize("recipe", [groupvit.paper, groupvit.scenes, groupvit.tiny])
def test_recipes_are_plain_values_and_come_back_the_same(recipe):
    settings = recipe()
    written = json.loads(json.dumps(settings_to_json(settings)))
    assert settings_from_json(type(settings), written, source="here") == settings


def test_the_recipe_of_the_paper_is_that_of_its_released_code():
    recipe = groupvit.paper()
    assert (recipe.shape, recipe.method.word_loss, recipe.words.count) == (GroupViTShape(), 1.0, 3)
    assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.clip_norm) == (1.6e-3, 0.05, 5.0)
    assert (recipe.run.batch_size, recipe.run.precision) == (4096, "bf16")
    assert recipe.run.num_steps == 209_935
    rates = [recipe.optim.lr * lr_factor(recipe.optim, step, 30_000) for step in (0, 2000, 30_000)]
    assert rates == pytest.approx([4e-6, 1.6e-3, 4e-5], rel=1e-6)
    assert (recipe.crop.min_area, recipe.crop.max_area) == (0.08, 1.0)
    assert (recipe.rand_augment.num_operations, recipe.rand_augment.magnitude) == (2, 9.0)
    assert recipe.erasing.chance == 0.25


def test_the_network_of_the_paper_looks_at_448_pixels_in_windows_of_448(monkeypatch):
    monkeypatch.setattr(
        groupvit.CaptionGroupViTRecipe, "build_tokenizer", lambda self: groupvit.WordTokenizer(["a"])
    )
    with torch.device("meta"):
        settings = groupvit.paper().build_model().settings
    assert (settings.short_side, settings.window, settings.window_stride) == (448, 448, 224)
    assert (settings.blend, settings.prompts, settings.threshold) == ("mean", "single", 0.95)


def test_words_of_scenes_and_of_their_prompts_are_all_known():
    recipe = groupvit.scenes()
    known = recipe.build_tokenizer().vocabulary
    (batch,) = recipe.build_data().batches(start_step=0, stop_step=1)
    texts = [*batch.captions, *(text for texts in batch.word_prompts for text in texts)]
    words = {word for text in texts for word in text.lower().replace(".", "").split()}
    assert words <= set(known)


def test_scenes_of_another_size_are_refused():
    recipe = groupvit.tiny()
    other = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, size=96))
    with pytest.raises(InputError, match="found scenes of 96 pixels for an image encoder of 64"):
        other.build_data()


def test_batches_too_small_for_a_batch_norm_are_refused_and_layer_norm_takes_them():
    recipe = groupvit.scenes()
    few = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, batch_size=8))
    with pytest.raises(InputError, match="found batches of 8 for a batch norm") as caught:
        few.build_model()
    assert "set shape.projection_norm to layer" in str(caught.value)
    dataclasses.replace(few, shape=dataclasses.replace(few.shape, projection_norm="layer")).build_model()


def test_a_run_of_the_tiny_recipe_trains_evaluates_and_loads_again(tmp_path):
    recipe = groupvit.tiny()
    run = dataclasses.replace(recipe.run, num_steps=4, batch_size=8, log_every=1, save_every=2)
    short = dataclasses.replace(recipe, run=run, num_scenes=6)
    name = "lexiseg.recipes.groupvit:tiny"
    model = train_recipe(name, recipe=short, out=tmp_path / "run", quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert set(lines[0]["terms"]) == {"caption", "words"}
    assert set(lines[-1]["evaluation"]) == {"mean_iou"}
    with_background = dataclasses.replace(short, data=localisation_scenes()).evaluate(model)
    assert set(with_background) == {"mean_iou", "foreground_mean_iou", "background"}
    result = model.segment(np.zeros((50, 70, 3), np.uint8), "star, ring, house, fish", background="threshold")
    assert result.vocabulary.names[-1] == "background"
    assert isinstance(
        lexiseg.load(str(tmp_path / "run"), trust=True), ExplainingModel
    )  # lexiseg explain takes the run

    # Stopped after its first checkpoint, the run goes on to the same weights, bit for bit.
    shutil.copytree(tmp_path / "run", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped/checkpoints/step-000004")
    again = train_recipe(name, recipe=short, out=tmp_path / "stopped", resume=True, quiet=True)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.fixture
def captions(tmp_path) -> Path:
    folder = write_folder(tmp_path / "data", count=12)
    lines = [f"{number:03d}\ta goldfish and {number % 3} traffic lights" for number in range(12)]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    return folder


def small_captions(folder: Path, **changes: object) -> groupvit.CaptionGroupViTRecipe:
    recipe = groupvit.paper()
    run = dataclasses.replace(
        recipe.run, num_steps=2, batch_size=4, sub_batch_size=2, num_workers=0, device="cpu"
    )
    words = WordSettings(tagger="word_list")
    return dataclasses.replace(
        recipe, **{"shape": SMALL, "run": run, "captions": folder, "words": words, "test_side": 32, **changes}
    )


@pytest.mark.exhaustive
def test_training_from_captions_in_parts_and_in_half_precision(captions, tmp_path):
    recipe = small_captions(captions, tokenizer=save_tiny_groupvit(tmp_path / "clip"))
    model = train_recipe("groupvit/paper", recipe=recipe, out=tmp_path / "run", quiet=True)
    assert model.segment(np.zeros((40, 40, 3), np.uint8), "goldfish, sky").label_map.shape == (40, 40)
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert record["facts"]["word_prompts"].startswith("list of ")


def test_words_of_a_caption_are_those_of_the_packaged_lists(captions):
    data = small_captions(captions).build_data()
    (batch,) = data.batches(start_step=0, stop_step=1)
    for caption, sentences in zip(batch.captions, batch.word_prompts, strict=True):
        assert sum("goldfish" in text and text != caption for text in sentences) == 1
        assert sum("traffic light" in text and text != caption for text in sentences) == 1
        assert sentences[-1] == caption


def test_a_list_of_words_of_one_s_own(captions, tmp_path):
    (tmp_path / "words.txt").write_text("light\nlamp\n")
    words = WordSettings(tagger="word_list", words=str(tmp_path / "words.txt"))
    assert words.build().tagger.words("lamps, lights and goldfish") == ["lamps", "lights"]


@pytest.mark.parametrize(
    ("tagger", "ready", "kind"),
    [
        ("auto", True, NltkTagger),
        ("auto", False, WordListTagger),
        ("word_list", True, WordListTagger),
    ],
)
def test_the_tagger_is_nltk_where_it_is_ready_and_a_list_elsewhere(monkeypatch, tagger, ready, kind):
    for module in ("lexiseg.recipes.word_settings", "lexiseg.data.captions.word_prompts"):
        monkeypatch.setattr(f"{module}.nltk_is_ready", lambda: ready)
    assert isinstance(WordSettings(tagger=tagger).build().tagger, kind)


def test_long_captions_are_cut_before_the_end_token(tmp_path):
    tokenizer = BytePairTokenizer(save_tiny_groupvit(tmp_path))
    (whole, cut) = tokenizer.ids(["dog", "dog of cat dog of cat"], 5)
    assert whole[0] == cut[0]
    assert whole[-1] == cut[-1]
    assert len(cut) == 5
    assert tokenizer.num_tokens > max(cut)


def test_a_tokenizer_without_start_and_end_is_refused(tmp_path):
    tokenizer = Tokenizer.from_file(str(save_tiny_groupvit(tmp_path) / "tokenizer.json"))
    content = json.loads(tokenizer.to_str())
    content["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(
        CheckpointError, match=r"token ids \[\] for an empty text; expected one token at the start"
    ):
        BytePairTokenizer(tmp_path)


def test_a_published_checkpoint_is_a_segmenter_with_the_published_inference(tmp_path):
    model = groupvit.build_groupvit(str(save_tiny_groupvit(tmp_path)))
    assert (model.settings.short_side, model.settings.window, model.settings.window_stride) == (64, 64, 32)
    assert set(model.method_settings) >= {"image_weights", "text_weights", "kept_classes", "maps"}
    assert not any(parameter.requires_grad for parameter in model.parameters())
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    found = model.segment(noise, ["cat", "dog"], background="threshold")
    assert found.settings["threshold"] == 0.95
