import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.data.label_files import read_label_map
from lexiseg.recipes.retraining import FIRST, PSEUDO_MASKS, SECOND, retrain
from lexiseg.recipes.run_folder import load_run
from lexiseg.recipes.simformer import SimFormerRecipe, ade20k, clothing, coco_stuff_10k, folder, scenes, tiny

NAME = "lexiseg.recipes.simformer:tiny"
CLOTHING = Path(__file__).parents[3].parent / "shared" / "data" / "clothing"


def short(**data) -> SimFormerRecipe:
    recipe = tiny()
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, num_scenes=8, num_scored_scenes=2, **data),
        run=dataclasses.replace(recipe.run, num_steps=2, batch_size=4),
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
    assert scenes().data.dataset == "scenes"


def test_data_that_need_a_folder_say_so():
    for recipe in (coco_stuff_10k(), folder()):
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


def test_one_command_trains_twice_and_leaves_a_model(tmp_path: Path):
    recipe = short()
    model = retrain(NAME, recipe=recipe, out=tmp_path, quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {FIRST, PSEUDO_MASKS, SECOND}
    view = recipe.data.view(recipe.run.seed)
    for index, stem in enumerate(view.stems):
        pseudo, sample = read_label_map(tmp_path / PSEUDO_MASKS / f"{stem}.png"), view[index]
        masked = sample.label_map != IGNORE_INDEX
        np.testing.assert_array_equal(pseudo[masked], sample.label_map[masked])
        assert set(np.unique(pseudo[~masked])) <= sample.tags | {IGNORE_INDEX}
    assert model.pair_losses is None
    assert model.method.complementary == 0
    assert set(recipe.evaluate(model)) == {"unseen_mean_iou", "seen_mean_iou", "harmonic_iou", "mean_iou"}
    again = load_run(tmp_path / SECOND)
    assert recipe.evaluate(again) == recipe.evaluate(model)
    assert retrain(NAME, recipe=recipe, out=tmp_path, resume=True, quiet=True) is not None
    with pytest.raises(InputError, match="leaves nothing to re-train"):
        retrain(NAME, recipe=short(all_masks=True), out=tmp_path / "other")


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
