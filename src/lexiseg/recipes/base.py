"""Recipes to train by: complete settings of a run, and what they build.

A method's recipes are functions without arguments in ``recipes/<method>.py``; a variant of one is
``dataclasses.replace``. A person's own is named ``package.module:function``. A ``RebuildableRecipe`` keeps in the
run what its model needs to be built again where neither the data nor first weights are.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.core.interfaces import Trainable
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.settings import OptimSettings, RunSettings

_SIDE = Range(least=1, most=100_000)
#: Numbers that recipes themselves have, beside their parts.
_RANGES = {
    "short_side": _SIDE,
    "max_long_side": _SIDE,
    "test_side": _SIDE,
    "threshold": Range(least=0, most=1),
    "max_invalid": Range(least=0, most=1),
    "num_words": Range(least=1, most=1000),
    "num_scenes": Range(least=1, most=10_000_000),
}


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """Complete settings of one run. A method adds its own fields, ``method`` and ``data`` by custom.

    Fields are bool, int, float, str, Path, Literal, None, tuples, dicts from str, or frozen dataclasses of
    these: flags and ``recipe.json`` are made from their types. Whatever the result depends on is a field.

    Attributes:
        optim: Settings of the optimiser and the learning rate.
        run: Settings of the run: length, batches, device, checkpoints.
    """

    optim: OptimSettings
    run: RunSettings

    def __post_init__(self) -> None:
        there = {field.name for field in fields(self)}
        check_ranges(
            self, {name: allowed for name, allowed in _RANGES.items() if name in there}, method="the recipe"
        )

    @abstractmethod
    def build_model(self) -> Trainable:
        """Build the model with its first weights; torch, numpy and random are seeded by then."""

    @abstractmethod
    def build_data(self) -> TrainingData:
        """Build the data, with batches of ``run.batch_size``, seeded by ``run.seed``."""

    def fitted_to(self, data: TrainingData) -> "Recipe":
        """Return the recipe as it will run on some data, once that is open; by default as it is.

        Raises:
            InputError: It cannot work with that data.
        """
        return self

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Score a model in eval mode, for the log; must not depend on chance. By default nothing is scored."""
        return {}


#: Name to module (below lexiseg.recipes) and function, and the first line of the function's docstring.
TRAINING_RECIPES: dict[str, tuple[str, str]] = {
    "clip-to-seg/clothing": (
        "clip_to_seg:clothing",
        "Teach on photographs of dressed people by mini: masks for most garments, only names for five of them.",
    ),
    "clip-to-seg/coco-stuff": (
        "clip_to_seg:coco_stuff",
        "Teach on COCO-Stuff, 156 classes with masks and 15 without, as the paper does; give --data.path.",
    ),
    "clip-to-seg/context": (
        "clip_to_seg:context",
        "Teach on PASCAL Context, 50 classes with masks and 10 without, as the paper does; give --data.path.",
    ),
    "clip-to-seg/folder": (
        "clip_to_seg:folder",
        "Teach on your own folder by mini: labels/ for the classes in seen.txt, or no masks at all.",
    ),
    "clip-to-seg/scenes": (
        "clip_to_seg:scenes",
        "Teach a small student on synthetic scenes by a made-up teacher: 12 classes, 3 of them without masks.",
    ),
    "clip-to-seg/tiny": (
        "clip_to_seg:tiny",
        "Teach a tiny student on a few synthetic scenes in seconds: to see that everything runs.",
    ),
    "clip-to-seg/voc": (
        "clip_to_seg:voc",
        "Teach on PASCAL VOC, 15 classes with masks and 5 without, as the paper does; give --data.path.",
    ),
    "cocu/folder": (
        "cocu:folder",
        "Train CoCu on your own images with captions, curated first: batches of 256, for one GPU.",
    ),
    "cocu/paper": (
        "cocu:paper",
        "Train CoCu as its released code does: 30 epochs of CC3M, CC12M and YFCC14M, batch 1,024, curated first.",
    ),
    "cocu/scenes": (
        "cocu:scenes",
        "Train a small GroupViT on synthetic scenes whose captions hide stuff, with curated words: minutes on a CPU.",
    ),
    "cocu/tiny": (
        "cocu:tiny",
        "Train a tiny GroupViT on a few curated scenes for some seconds: shows that everything runs.",
    ),
    "groupvit/paper": (
        "groupvit:paper",
        "Train GroupViT as its released code does: 30 epochs of CC3M, CC12M and YFCC14M, 16 GPUs.",
    ),
    "groupvit/scenes": (
        "groupvit:scenes",
        "Train a small GroupViT on synthetic scenes whose captions name things and what is behind them.",
    ),
    "groupvit/tiny": (
        "groupvit:tiny",
        "Train a tiny GroupViT on synthetic scenes for some seconds: shows that everything runs.",
    ),
    "simformer/ade20k": (
        "simformer_published:ade20k",
        "Train on ADE20K-150 as the paper does; give --data.path and perhaps --data.class-split.",
    ),
    "simformer/clothing": (
        "simformer:clothing",
        "Train on photographs of dressed people: masks for most garments, tags for five of them.",
    ),
    "simformer/clothing-frozen": (
        "simformer:clothing_frozen",
        "Train on the same photographs above a frozen DINOv2 (dinov2-small), every image encoded once.",
    ),
    "simformer/coco-stuff-10k": (
        "simformer_published:coco_stuff_10k",
        "Train on COCO-Stuff 10k as the paper does; give --data.path and perhaps --data.class-split.",
    ),
    "simformer/coco-stuff-10k-second": (
        "simformer_published:coco_stuff_10k_second",
        "Train on from a run of simformer/coco-stuff-10k, as the release does for S1; give --init-from and --data.path.",
    ),
    "simformer/folder": (
        "simformer:folder",
        "Train on your own folder: labels/ for the classes in seen.txt, tags.tsv for the others.",
    ),
    "simformer/folder-frozen": (
        "simformer:folder_frozen",
        "Train on your own folder above a frozen DINOv2 (dinov2-small), every image encoded once: minutes on a CPU.",
    ),
    "simformer/scenes": (
        "simformer:scenes",
        "Train a small SimFormer on synthetic scenes: 12 classes, 3 of them with tags only.",
    ),
    "simformer/tiny": (
        "simformer:tiny",
        "Train a tiny SimFormer on a few synthetic scenes in seconds: to see that everything runs.",
    ),
    "simseg/emoji": (
        "simseg:emoji",
        "Train on scenes of emoji, a tenth of the names held out; wants a GPU, and the folder of emoji.",
    ),
    "simseg/finetune": (
        "simseg_finetune:finetune",
        "Train SimSeg from EfficientNet-Lite0 (or DINOv2) and MiniLM on your own images with captions.",
    ),
    "simseg/paper": (
        "simseg:paper",
        "Train ViT-S/16 and BERT-base as the paper does (its Table 5): 20 epochs of CC3M and CC12M.",
    ),
    "simseg/paper-b16": ("simseg:paper_b16", "Train the larger image encoder of the paper, ViT-B/16."),
    "simseg/scenes": (
        "simseg:scenes",
        "Train a small SimSeg on synthetic scenes until it finds things: minutes on one CPU core.",
    ),
    "simseg/tiny": (
        "simseg:tiny",
        "Train a tiny SimSeg on synthetic scenes for some seconds: shows that everything runs.",
    ),
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name, or of ``package.module:function``.

    Raises:
        UnknownNameError: There is no recipe of that name.
        InputError: The function cannot be imported or does not give a ``Recipe``.
    """
    if name in TRAINING_RECIPES:
        module, _, function = TRAINING_RECIPES[name][0].partition(":")
        return getattr(import_module(f"lexiseg.recipes.{module}"), function)()
    module, colon, function = name.partition(":")
    if not colon:
        raise UnknownNameError.of("training recipe", name, TRAINING_RECIPES)
    try:
        recipe = getattr(import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            doing=f"looking up the training recipe {name!r}",
            found=f"{type(error).__name__}: {error}",
            expected="package.module:function, a function without arguments that gives a Recipe",
            fix="Check the names; for a module in the present folder, run with PYTHONPATH=. set.",
        ) from error
    if isinstance(recipe, Recipe):
        return recipe
    raise InputError(
        doing=f"looking up the training recipe {name!r}",
        found=f"a function that gives a {type(recipe).__name__}",
        expected="a lexiseg.recipes.base.Recipe",
        fix="Return an instance of your subclass of Recipe.",
    )


class RebuildableRecipe(Recipe):
    """A recipe whose ``build_model`` reads more than settings: names of a data set, a pretrained network.

    What it read is written into the run's ``model.json``. Loading the run builds from that.
    """

    @abstractmethod
    def describe_model(self, model: Trainable) -> dict[str, Any]:
        """Return what ``rebuild_model`` needs beside the settings, as JSON has it."""

    @abstractmethod
    def rebuild_model(self, described: Mapping[str, Any]) -> Trainable:
        """Build the model without its weights: these are in the run.

        Raises:
            KeyError: Something is missing in what was described; ``TypeError`` and ``ValueError`` likewise.
        """
