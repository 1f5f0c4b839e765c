"""Recipes of SimFormer on the data sets of its paper."""

from dataclasses import replace

from lexiseg.data.augmentation.labelled_crop import LabelledCropSettings
from lexiseg.engine.settings import RunSettings
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.recipes.partial_labels import WeakShotSource
from lexiseg.recipes.simformer import PseudoMaskSettings, SimFormerRecipe, poly_optim


def coco_stuff_10k() -> SimFormerRecipe:
    """Train on COCO-Stuff 10k as the paper does; give --data.path and perhaps --data.class-split."""
    return SimFormerRecipe(
        data=WeakShotSource(
            dataset="coco-stuff10k",
            class_split="weak-shot-coco-stuff10k-s1",
            # 0.5 to 1.5 as the release has it; the paper's text says 2.0.
            crop=LabelledCropSettings(size=640, min_scale=0.5, max_scale=1.5, max_long_side=2560),
        ),
        method=SimFormerSettings(complementary=0.15, distillation=0.1),
        short_side=640,
        max_long_side=2560,
        optim=poly_optim(1e-4),
        run=RunSettings(num_steps=60_000, batch_size=8, evaluate_every=10_000),
    )


def coco_stuff_10k_second() -> SimFormerRecipe:
    """Train on from a run of simformer/coco-stuff-10k, as the release does for S1; give --init-from and --data.path.

    The release's second schedule of S1: 5,000 steps at a tenth of the rate, no distillation, and SimNet's loss changes
    the pixel embeddings.
    """
    first = coco_stuff_10k()
    return replace(
        first,
        method=replace(first.method, distillation=0.0, detached=False),
        optim=poly_optim(1e-5),
        run=RunSettings(num_steps=5000, batch_size=8),
    )


def ade20k() -> SimFormerRecipe:
    """Train on ADE20K-150 as the paper does; give --data.path and perhaps --data.class-split."""
    return SimFormerRecipe(
        data=WeakShotSource(
            dataset="ade20k-150",
            class_split="weak-shot-ade20k-s1",
            crop=LabelledCropSettings(size=512, min_scale=0.5, max_scale=2.0, max_long_side=2048),
        ),
        method=SimFormerSettings(complementary=0.2, distillation=0.5),
        pseudo_masks=PseudoMaskSettings(short_sides=(320, 480, 640, 800, 960), mirrored=True),
        short_side=512,
        max_long_side=2048,
        optim=poly_optim(1e-4),
        run=RunSettings(num_steps=160_000, batch_size=8, evaluate_every=20_000),
    )
