import dataclasses
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lexiseg.cli.retrain import Retrain
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import CheckpointError, DatasetError, InputError, MissingWeightsError
from lexiseg.data.augmentation.labelled_crop import LabelledCropSettings
from lexiseg.data.label_files import read_label_map
from lexiseg.data.partial_labels.batches import WeakShotBatches, WeakShotSettings
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from lexiseg.data.partial_labels.pseudo_masks import write_pseudo_mask
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.maskformer import MaskFormerSettings
from lexiseg.models.maskformer_checkpoint import load_maskformer
from lexiseg.recipes import simformer as recipes
from lexiseg.recipes.partial_labels import RandomSquare
from lexiseg.recipes.simformer import (
    PseudoMaskSettings,
    SimFormerRecipe,
    clothing,
    clothing_frozen,
    folder,
    scenes,
    tiny,
)
from lexiseg.recipes.simformer_published import ade20k, coco_stuff_10k, coco_stuff_10k_second
from lexiseg.runs.folder import load_run
from lexiseg.runs.load import second_run
from lexiseg.runs.retrain import count_pseudo_pixels, retrain
from lexiseg.runs.retraining_folder import FIRST, PSEUDO_MASKS, SECOND
from lexiseg.runs.train import train_recipe
from partial_label_toys import ToyDataset, toy_samples, with_labels_permuted
from tiny_maskformers import NAMES, save_tiny_classifier, save_tiny_maskformer
from tiny_vision_checkpoints import save_tiny_dinov2

NAME = "lexiseg.recipes.simformer:tiny"
CLOTHING = Path(__file__).parents[3].parent / "shared" / "data" / "clothing"


def short(**data) -> SimFormerRecipe:
    recipe = tiny()
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, num_scenes=8, num_scored_scenes=2, **data),
        run=dataclasses.replace(recipe.run, num_steps=2, batch_size=4),
        pseudo_masks=PseudoMaskSettings(min_pixels=0),
    )


def test_published_settings():
    coco, ade = coco_stuff_10k(), ade20k()
    for recipe, steps, size, scale in ((coco, 60_000, 640, 1.5), (ade, 160_000, 512, 2.0)):
        assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.clip_norm) == (1e-4, 1e-4, 0.01)
        assert (recipe.optim.schedule, recipe.optim.poly_power, recipe.optim.warmup_fraction) == (
            "poly",
            0.9,
            0,
        )
        assert (recipe.run.num_steps, recipe.run.batch_size, recipe.run.seed) == (steps, 8, 0)
        assert (recipe.data.crop.size, recipe.data.crop.min_scale, recipe.data.crop.max_scale) == (
            size,
            0.5,
            scale,
        )
        assert recipe.short_side == size
        assert recipe.method.backbone_lr_factor == 0.1
        assert recipe.method.num_points == recipe.network.num_queries == 100
    assert (coco.method.complementary, coco.method.distillation) == (0.15, 0.1)
    assert (ade.method.complementary, ade.method.distillation) == (0.2, 0.5)
    assert len(coco.data.vocabulary()) - len(coco.data.vocabulary().seen) == 43
    assert len(ade.data.vocabulary()) - len(ade.data.vocabulary().seen) == 38
    assert (coco.data.crop.max_long_side, ade.data.crop.max_long_side) == (2560, 2048)
    assert (coco.pseudo_masks.short_sides, coco.pseudo_masks.mirrored) == ((), False)
    assert (ade.pseudo_masks.short_sides, ade.pseudo_masks.mirrored) == ((320, 480, 640, 800, 960), True)
    second = coco_stuff_10k_second()
    assert (second.optim.lr, second.run.num_steps, second.method.distillation) == (1e-5, 5000, 0)
    assert not second.method.detached
    assert scenes().data.dataset == "scenes"


def test_data_that_need_a_folder_say_so():
    for recipe in (coco_stuff_10k(), ade20k(), folder(), clothing()):
        with pytest.raises(InputError, match=r"--data\.path FOLDER"):
            recipe.build_data()
    without = dataclasses.replace(coco_stuff_10k().data, class_split=None)
    with pytest.raises(InputError, match=r"--data\.class-split weak-shot-coco"):
        without.vocabulary()


def test_the_oracle_is_trained_with_all_masks_and_scored_by_the_division():
    recipe = short(all_masks=True)
    assert len(recipe.data.trained_vocabulary().seen) == 12
    assert len(recipe.data.scored_images().vocabulary.seen) == 9
    batch = next(recipe.build_data().batches(start_step=0, stop_step=1))
    assert not batch.tags.any()


@pytest.mark.exhaustive
def test_one_command_trains_twice_and_leaves_a_model(tmp_path: Path):
    recipe = short()
    model = retrain(NAME, recipe=recipe, out=tmp_path, quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {FIRST, PSEUDO_MASKS, SECOND}
    masked_labels = recipe.data.masked_labels(recipe.run.seed)
    for index, stem in enumerate(masked_labels.stems):
        pseudo, sample = read_label_map(tmp_path / PSEUDO_MASKS / f"{stem}.png"), masked_labels[index]
        masked = sample.label_map != IGNORE_INDEX
        np.testing.assert_array_equal(pseudo[masked], sample.label_map[masked])
        assert set(np.unique(pseudo[~masked])) <= sample.tags | {IGNORE_INDEX}
    assert model.pair_losses is None
    assert model.method.complementary == 0
    assert recipe.evaluate(model).keys() >= {"unseen_mean_iou", "seen_mean_iou", "harmonic_iou", "mean_iou"}
    again = load_run(tmp_path / SECOND, trust=True)
    assert recipe.evaluate(again) == recipe.evaluate(model)
    strict = dataclasses.replace(recipe, pseudo_masks=PseudoMaskSettings(min_pixels=10**9))
    with pytest.raises(InputError, match=r"too few pixels of .*; pixels of every class: fish [\d,]+, tree"):
        retrain(NAME, recipe=strict, out=tmp_path.parent / f"{tmp_path.name}-strict", quiet=True)
    assert retrain(NAME, recipe=recipe, out=tmp_path, resume=True, quiet=True) is not None
    with pytest.raises(InputError, match="leaves nothing to re-train"):
        retrain(NAME, recipe=short(all_masks=True), out=tmp_path / "other")
    shutil.rmtree(tmp_path / FIRST)
    shutil.rmtree(tmp_path / SECOND)
    with pytest.raises(InputError, match="a folder pseudo_masks of an earlier model"):
        retrain(NAME, recipe=recipe, out=tmp_path)  # they would be taken for the new model's


def test_clothing_holds_out_masks_and_trains_with_tags_of_the_others():
    if not CLOTHING.is_dir():
        pytest.skip(f"no photographs of clothing in {CLOTHING}")
    data = dataclasses.replace(clothing().data, path=CLOTHING)
    scored = data.scored_images()
    assert len(scored) == 100
    training = data._training_images(0)
    assert len(training) == 700
    assert not set(training.stems) & set(scored.stems)
    assert training[training.stems.index("1005")].label_map is None


def own_folder(path: Path) -> SimFormerRecipe:
    """Write a person's folder: masks of sky and grass, tags of a cat, a photograph with tags only."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (path / name).mkdir(parents=True)
    stems = [f"p{index}" for index in range(6)]
    for stem in stems:
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(
            path / "images" / f"{stem}.png"
        )
        labels = np.zeros((48, 64), np.uint8)
        labels[24:] = 1
        labels[8:40, 16:48] = 2 if stem == "p5" else 255
        if stem != "p0":
            Image.fromarray(labels).save(path / "labels" / f"{stem}.png")
    (path / "classes.txt").write_text("sky\ngrass\tlawn\ncat\n")
    (path / "seen.txt").write_text("sky\ngrass\n")
    tags = [f"{stem}\tsky, grass, cat" for stem in stems[:-1]]
    (path / "tags.tsv").write_text("\n".join(tags) + "\n")
    (path / "train.txt").write_text("\n".join(stems[:-1]) + "\n")
    (path / "val.txt").write_text("p5\np0\n")
    recipe = tiny()
    data = dataclasses.replace(
        folder().data, path=path, crop=dataclasses.replace(folder().data.crop, size=64)
    )
    run = dataclasses.replace(recipe.run, num_steps=2, batch_size=4)
    return dataclasses.replace(recipe, data=data, run=run)


def test_a_persons_folder_is_trained_with_and_scored_by_its_lists(tmp_path: Path):
    recipe = own_folder(tmp_path / "data")
    masked_labels = recipe.data.masked_labels(0)
    assert masked_labels.stems == ["p0", "p1", "p2", "p3", "p4"]
    assert [known.masked for known in masked_labels.known] == [False, True, True, True, True]
    assert recipe.data.scored_images().stems == ["p5"]  # p0 has no masks to be scored by
    (tmp_path / "data" / "val.txt").unlink()
    assert recipe.data.scored_images() is None
    assert recipe.evaluate(recipe.build_model()) == {}
    (tmp_path / "data" / "train.txt").unlink()
    with pytest.raises(DatasetError, match=r"p5\.png: found masks of 'cat', which seen\.txt does not list"):
        recipe.build_data()


def test_a_run_is_loaded_without_its_data_and_without_first_weights(tmp_path: Path):
    recipe = own_folder(tmp_path / "data")
    backbone = save_tiny_classifier(tmp_path / "backbone", "resnet")
    recipe = dataclasses.replace(recipe, backbone=str(backbone))
    trained = train_recipe("simformer/folder", recipe=recipe, out=tmp_path / "run", quiet=True)
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(backbone)
    loaded = load_run(tmp_path / "run")
    assert loaded.vocabulary == trained.vocabulary
    assert loaded.vocabulary.synonyms[1] == ("lawn",)
    image = np.random.default_rng(1).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    ours, theirs = (model.segment(image, ["lawn", "cat"]).label_map for model in (trained, loaded))
    np.testing.assert_array_equal(ours, theirs)

    described = json.loads((tmp_path / "run" / "model.json").read_text())
    del described["names"]
    (tmp_path / "run" / "model.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"model\.json: found KeyError: 'names'"):
        load_run(tmp_path / "run")
    (tmp_path / "run" / "model.json").unlink()
    # Nothing is kept, as in older runs: all is asked for again, the data first.
    with pytest.raises(DatasetError, match="found no folder"):
        load_run(tmp_path / "run")


def frozen(checkpoint: Path, weights: str, **data) -> SimFormerRecipe:
    # Scenes are 64×64 and flipped or not; above a frozen network of 32 channels.
    return dataclasses.replace(short(**data), backbone=str(checkpoint), backbone_weights=weights)


def test_a_frozen_backbone_is_encoded_once_an_image_and_stays_as_it_is(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    checkpoint = save_tiny_dinov2(tmp_path / "dinov2", patch=14)
    recipe = frozen(checkpoint, "cached")
    recipe = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, num_steps=6))
    before = load_dinov2(checkpoint).fingerprint
    trained = train_recipe(NAME, recipe=recipe, out=tmp_path / "run", quiet=True)
    kept = list((tmp_path / "cache" / "features").rglob("*.safetensors"))
    assert 4 <= len(kept) <= 18  # 24 images were seen: 8 scenes, mirrored or not, and 2 that are scored
    loaded = load_run(tmp_path / "run", trust=True)
    for model in (trained, loaded):
        assert model.network.backbone.encoder.fingerprint == before
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    ours, theirs = (model.segment(image, ["star", "sky"]).label_map for model in (trained, loaded))
    np.testing.assert_array_equal(ours, theirs)
    # Features are kept for training; a finished model keeps nothing of the images it segments.
    assert len(list((tmp_path / "cache" / "features").rglob("*.safetensors"))) == len(kept)


@pytest.mark.parametrize("weights", ["trained", "frozen", "cached"])
def test_what_is_frozen_is_not_trained(tmp_path: Path, weights: str):
    model = frozen(save_tiny_dinov2(tmp_path, patch=14), weights).build_model()
    trained = {name for group in model.parameter_groups() for name, _ in group.parameters}
    assert any("backbone" in name for name in trained) == (weights == "trained")
    assert any("mask_head" in name for name in trained)


def test_features_that_would_never_come_again_are_not_kept(tmp_path: Path):
    crop = LabelledCropSettings(size=56)
    recipe = frozen(save_tiny_dinov2(tmp_path, patch=14), "cached", crop=crop)
    with pytest.raises(InputError) as caught:
        recipe.build_model()
    assert str(caught.value) == (
        "keeping the features of a frozen backbone on disk: found scales 0.5–2, corners every 1 pixels, changed "
        "colours; expected DINOv2, and images that come again: one scale, corners on a lattice, their own colours. "
        "Set --data.crop as the recipe simformer/clothing-frozen does, or --backbone-weights frozen."
    )
    with pytest.raises(InputError, match="found the backbone tiny; expected DINOv2"):
        dataclasses.replace(recipe, backbone="tiny", data=short().data).build_model()
    assert clothing_frozen().data.crop.repeats


class StoppedError(Exception):
    """As if the power had failed."""


def test_stopped_and_resumed_all_weights_and_counts_are_bit_identical(tmp_path, monkeypatch):
    recipe, stopped_after = short(), 3
    run = dataclasses.replace(recipe.run, num_steps=5, save_every=2, log_every=1)
    recipe = dataclasses.replace(recipe, run=run)
    train_recipe(NAME, recipe=recipe, out=tmp_path / "whole", quiet=True)
    loss, calls = recipes.SimFormer.loss, []

    def failing(model, batch):
        calls.append(1)
        if len(calls) > stopped_after:
            raise StoppedError
        return loss(model, batch)

    with monkeypatch.context() as patched:
        patched.setattr(recipes.SimFormer, "loss", failing)
        with pytest.raises(StoppedError):
            train_recipe(NAME, recipe=recipe, out=tmp_path / "two", quiet=True)
    train_recipe(NAME, recipe=recipe, out=tmp_path / "two", resume=True, quiet=True)
    whole, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "two"))
    assert {"pair_losses.balance.counts", "pair_losses.simnet.blocks.0.mix_norm.running_mean"} <= set(whole)
    assert all(torch.equal(whole[name], two[name]) for name in whole | two)
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "two")]
    assert logs[0] == logs[1]


def test_the_papers_number_is_a_mean_over_unseen_classes_that_occur(monkeypatch):
    # T12's counts, with a further unseen class that is predicted once and never occurs
    recipe = short()
    counts = ConfusionMatrix(4)
    truth = np.array([[0, 0, 0, 0, 1, 1, 2, 2, 65535, 65535]], np.uint16)
    counts.update(truth, np.array([[0, 0, 0, 1, 1, 3, 2, 0, 2, 1]], np.uint16))
    scores = compute_scores(counts, seen=frozenset({0, 1}))
    report = SimpleNamespace(scores=scores)
    monkeypatch.setattr(recipes, "evaluate", lambda *_, **__: report)
    found = recipe.evaluate(recipe.build_model())
    assert found["unseen_mean_iou_present"] == 0.5
    assert found["unseen_mean_iou"] == 0.25
    assert found["seen_mean_iou_present"] == found["seen_mean_iou"]


def test_a_score_that_nothing_defines_is_left_out(tmp_path: Path):
    recipe = own_folder(tmp_path)
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "labels" / "p5.png")
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, train_split="train"))
    found = recipe.evaluate(recipe.build_model().eval())
    assert "unseen_mean_iou_present" not in found
    assert all(value == value for value in found.values())


def test_settings_that_do_not_go_together_are_refused():
    for changes in ({"batch_size": 5}, {"batch_size": 4, "sub_batch_size": 3}):
        recipe = dataclasses.replace(tiny(), run=dataclasses.replace(tiny().run, **changes))
        with pytest.raises(InputError, match="even numbers: rows 2p and 2p"):
            recipe.build_data()
    for changes in ({"presence": "crop"}, {"truth": True}):
        batches = dataclasses.replace(tiny().data.batches, **changes)
        with pytest.raises(InputError, match="tags of crops, or the truth"):
            short(unseen_masks="refuse", batches=batches).build_data()


def test_random_squares_do_not_depend_on_where_unseen_classes_are():
    # T9 at the level of data, with the crops of real training
    crop = RandomSquare(settings=LabelledCropSettings(size=16, max_attempts=1))
    permuted = [with_labels_permuted(sample) for sample in toy_samples()]
    ours, theirs = (
        WeakShotBatches(MaskedLabels(ToyDataset(samples)), WeakShotSettings(), crop, batch_size=4, seed=3)
        for samples in (toy_samples(), permuted)
    )
    for step in range(20):
        one, other = ours(step, 0, 4), theirs(step, 0, 4)
        for name in ("images", "label_maps", "tags", "padding"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_images_to_score_are_not_trained_with(tmp_path: Path):
    recipe = own_folder(tmp_path)
    for name in ("train.txt", "val.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    assert len(recipe.data._training_images(0)) == 6
    (tmp_path / "val.txt").write_text("p1\np2\n")
    assert recipe.data._training_images(0).stems == ["p0", "p3", "p4", "p5"]
    assert recipe.data.scored_images().stems == ["p1", "p2"]
    (tmp_path / "train.txt").write_text("p2\np3\n")
    with pytest.raises(DatasetError, match=r"1 images of train\.txt in val\.txt too: p2"):
        recipe.data._training_images(0)
    (tmp_path / "train.txt").write_text("p3\np4\n")
    assert recipe.data._training_images(0).stems == ["p3", "p4"]


def test_pixels_of_pseudo_masks_are_counted_by_class(tmp_path: Path):
    masked_labels = own_folder(tmp_path).data.masked_labels(0)
    for stem in masked_labels.stems:
        write_pseudo_mask(tmp_path / "pseudo", stem, np.zeros((4, 4), np.uint16))
    assert count_pseudo_pixels(masked_labels, tmp_path / "pseudo") == {"cat": 0}
    write_pseudo_mask(tmp_path / "pseudo", "p3", np.full((4, 4), 2, np.uint16))
    assert count_pseudo_pixels(masked_labels, tmp_path / "pseudo") == {"cat": 16}


def test_the_folder_of_a_retraining_names_its_second_run(tmp_path: Path):
    for name in (FIRST, SECOND):
        (tmp_path / name).mkdir()
        assert second_run(str(tmp_path)) == str(tmp_path)
        (tmp_path / name / "recipe.json").write_text("{}")
    assert second_run(str(tmp_path)) == str(tmp_path / SECOND)
    assert second_run(str(tmp_path / FIRST)) == str(tmp_path / FIRST)


@pytest.mark.parametrize("kind", [MaskFormerSettings, SimFormerSettings])
@pytest.mark.parametrize("value", [-1, 10**12, float("nan")])
def test_numbers_that_no_network_can_be_built_with_are_refused_by_the_name_of_the_setting(kind, value):
    """A table over every whole and real number of the settings: negative, huge, none at all."""
    for field in dataclasses.fields(kind):
        if field.type not in (int, float, int | None) or (field.name == "num_points" and value > 0):
            continue
        whole = field.type is not float
        if whole and math.isnan(value):
            continue
        with pytest.raises(InputError, match=f"{field.name} = "):
            kind(**{field.name: (int if whole else float)(value)})


@pytest.mark.parametrize(
    "change", [{"width": 30}, {"width": 32, "num_heads": 3, "norm_groups": 8}, {"num_heads": 0}]
)
def test_sizes_that_do_not_divide_are_refused(change):
    with pytest.raises(InputError, match=r"multiple of|num_heads = 0"):
        MaskFormerSettings(**change)


def test_training_on_masks_saved_black_and_white_is_warned_of(tmp_path: Path):
    recipe = own_folder(tmp_path / "data")
    (tmp_path / "data" / "tags.tsv").write_text("p0\tsky\n")
    for file in (tmp_path / "data" / "labels").glob("*.png"):
        labels = np.asarray(Image.open(file))
        Image.fromarray(np.where(labels == labels.min(), 0, 255).astype(np.uint8)).save(file)
    with pytest.warns(UserWarning, match="masks saved black and white"):
        recipe.data.training_data(batch_size=2, seed=0)


def test_what_a_folder_check_would_mend_is_refused_before_training(tmp_path: Path):
    recipe = own_folder(tmp_path / "data")
    Image.fromarray(np.zeros((7, 7), np.uint8)).save(tmp_path / "data" / "labels" / "p5.png")  # of no split
    with pytest.raises(DatasetError, match=r"checking the folder .* found p5: ") as caught:
        recipe.build_data()
    assert "lexiseg datasets check folder" in str(caught.value)


def test_a_folder_without_one_mask_and_an_empty_line_of_tags_say_so(tmp_path: Path):
    recipe = own_folder(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "labels")
    (tmp_path / "data" / "val.txt").unlink()
    with pytest.warns(UserWarning, match="none of the 5 images of .* has a mask"):
        recipe.data.masked_labels(0)
    (tmp_path / "data" / "tags.tsv").write_text("p0\tsky\np1\t\np2\tcat\np3\tcat\np4\tcat\n")
    with pytest.raises(DatasetError, match="neither masks nor tags: its line of tags names no class"):
        recipe.data.masked_labels(0)


def test_too_few_proposals_are_refused_at_the_start(tmp_path: Path):
    recipe = own_folder(tmp_path)
    recipe = dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, num_queries=2))
    with pytest.raises(InputError, match=r"an image of 3 classes, and network\.num_queries = 2"):
        recipe.build_data()


def test_a_missing_backbone_names_those_that_need_no_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeightsError) as caught:
        dataclasses.replace(short(), backbone="microsoft/resnet-18").build_model()
    text = str(caught.value)
    assert "tokenizer" not in text
    assert "--backbone efficientnet-lite0" in text
    assert "--backbone dinov2-small" in text


def test_a_share_of_a_folders_classes_can_be_turned_unseen(tmp_path: Path):
    recipe = own_folder(tmp_path)
    (tmp_path / "seen.txt").unlink()
    few, more = (
        dataclasses.replace(recipe.data, unseen_share=share, unseen_masks="hide").vocabulary().seen
        for share in (0.3, 0.7)
    )
    assert len(few) == 2
    assert more < few
    with pytest.raises(InputError, match=r"data\.scenes\.unseen_share"):
        dataclasses.replace(short().data, unseen_share=0.5)


def test_a_training_starts_from_a_published_network_or_a_run(tmp_path: Path):
    """By name: classes that both know begin with the same weights, whatever their numbers."""
    recipe = own_folder(tmp_path / "data")
    checkpoint = save_tiny_maskformer(
        tmp_path / "checkpoint", "resnet", width=64
    )  # knows sky, not grass or cat
    published = load_maskformer(checkpoint).network
    started = dataclasses.replace(recipe, init_from=str(checkpoint))
    model = started.build_model()
    names = ("mask_head.0.weight", "backbone.network.embedder.embedder.convolution.weight")
    for name in names:
        torch.testing.assert_close(model.network.state_dict()[name], published.state_dict()[name])
    sky, theirs = model.vocabulary.index("sky"), NAMES.index("sky")
    rows = model.network.class_head.weight, published.class_head.weight
    torch.testing.assert_close(rows[0][sky], rows[1][theirs])
    torch.testing.assert_close(rows[0][-1], rows[1][-1])  # "no object"
    assert all(value.requires_grad for value in model.network.mask_head.parameters())
    train_recipe("simformer/folder", recipe=started, out=tmp_path / "run", quiet=True)
    shutil.rmtree(checkpoint)
    run = load_run(tmp_path / "run")  # sizes are the checkpoint's, kept in the run
    assert run.network.settings == published.settings
    again = dataclasses.replace(recipe, init_from=str(tmp_path / "run")).build_model()
    assert all(
        torch.equal(value, run.state_dict()[name])
        for name, value in again.state_dict().items()
        if name.startswith(("network.", "pair_losses.simnet."))
    )
    with pytest.raises(InputError, match="classifier = pixels"):
        dataclasses.replace(started, classifier="pixels", init_from=str(tmp_path / "run")).build_model()


needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed (extra train)"
)


@pytest.mark.exhaustive
@needs_accelerate
def test_two_processes_train_again_as_one_does(tmp_path: Path):
    root = Path(__file__).parents[3]
    small = ["--run.num-steps", "1", "--run.batch-size", "4", "--data.num-scenes", "4", "--quiet"]
    small += ["--data.num-scored-scenes", "1", "--pseudo-masks.min-pixels", "0", "--method.pairs", "none"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", "2", "-m", "lexiseg", "retrain", "simformer/tiny"]
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two"), *small],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    options = ["simformer/tiny", "--out", str(tmp_path / "one"), *small]
    assert Retrain.from_arguments(options).run() == 0
    for part in (FIRST, SECOND):
        one, two = (load_file(tmp_path / name / part / "model.safetensors") for name in ("one", "two"))
        assert one.keys() == two.keys()
        for key in one:
            torch.testing.assert_close(two[key], one[key], rtol=0, atol=1e-5)
    drawn = [
        sorted(path.name for path in (tmp_path / name / PSEUDO_MASKS).iterdir()) for name in ("one", "two")
    ]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 4
