"""simseg: training on captions alone.

``paper`` is the recipe of the paper's Table 5; ``scenes`` makes its findings visible on two CPU cores;
``emoji`` has real artwork; ``tiny`` only shows that everything runs. Measured in benchmarks/accuracy/simseg.md.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import Trainable
from lexiseg.data.augmentation.word_corruption import WordCorruption, corrupt_words
from lexiseg.data.scenes import PasteSettings, SceneDataset, SceneSettings, WorldSettings, scene_training_data
from lexiseg.data.scenes.captions import FILLERS
from lexiseg.data.scenes.class_table import STUFFS, THINGS
from lexiseg.data.scenes.settings import localisation_scenes
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.simseg.segmenter import SimSeg
from lexiseg.methods.simseg.settings import SimSegSettings
from lexiseg.models.bert import (
    BERT_BASE,
    Bert,
    BertShape,
    WordPieceTokenizer,
    WordTokenizer,
)
from lexiseg.models.minilm import TOKENIZER
from lexiseg.models.text_tokens import CaptionTokenizer
from lexiseg.models.vit import VIT_B16, VIT_S16, VisionTransformer, ViTShape
from lexiseg.recipes.base import Recipe
from lexiseg.recipes.caption_files import CaptionFilesRecipe
from lexiseg.recipes.simseg_evaluation import SceneEvaluation, evaluate_on_scenes


@dataclass(frozen=True, kw_only=True)
class SimSegRecipe(Recipe):
    """What all SimSeg runs have in common.

    Attributes:
        method: Settings of pooling, temperature and masks.
        image: Size of the image encoder.
        text: Size of the text encoder.
        test_side: Side of the square that images are resized to at inference, whatever their aspect ratio, in
            pixels.
        prompts: Name of the prompt set that class names are put into.
        refine: Refinement of masks: ``none`` (threshold at half) or ``crf`` (dense CRF).
        corruption: Corruption of caption words in training; None leaves them.
    """

    method: SimSegSettings = field(default_factory=SimSegSettings)
    image: ViTShape = VIT_S16
    text: BertShape = BERT_BASE
    test_side: int = 288
    prompts: str = "imagenet80"
    refine: Literal["none", "crf"] = "crf"
    corruption: WordCorruption | None = field(default_factory=WordCorruption)

    def build_model(self) -> SimSeg:
        """Build both encoders with random weights."""
        return SimSeg(
            VisionTransformer(self.image),
            self.image.width,
            Bert(self.build_tokenizer(), self.text),
            settings=InferenceSettings(
                short_side=self.test_side,
                max_long_side=max(2048, self.test_side),
                keep_aspect=False,
                prompts=self.prompts,
                background="name",
                refine=self.refine,
            ),
            method=self.method,
        )

    @abstractmethod
    def build_tokenizer(self) -> CaptionTokenizer:
        """Build what turns sentences into token ids."""


@dataclass(frozen=True, kw_only=True)
class CaptionSimSegRecipe(SimSegRecipe, CaptionFilesRecipe):
    """Train on images with captions: a folder, tar shards or Parquet files.

    Attributes:
        auto_augment: Apply AutoAugment with the ImageNet policy.
    """

    auto_augment: bool = True

    def build_tokenizer(self) -> CaptionTokenizer:
        """Build BERT's WordPiece tokenizer (30,522 tokens) from the pip package that carries all-MiniLM-L6-v2.

        Raises:
            MissingWeightsError: The package is not installed.
        """
        return WordPieceTokenizer(TOKENIZER.verified_path())

    def build_data(self) -> TrainingData:
        """Open the captions.

        Raises:
            DatasetError: They cannot be used.
        """
        return self.open_files(
            size=self.image.image_side, auto_augment=self.auto_augment, corruption=self.corruption
        )


@dataclass(frozen=True, kw_only=True)
class SceneSimSegRecipe(SimSegRecipe):
    """Train on synthetic scenes.

    Attributes:
        data: Settings of the scenes to train on.
        evaluation: Settings of the evaluation on held-out scenes.
    """

    data: SceneSettings = field(default_factory=localisation_scenes)
    evaluation: SceneEvaluation = field(default_factory=SceneEvaluation)

    def build_tokenizer(self) -> CaptionTokenizer:
        """Build a tokenizer of every word that captions of scenes are made of."""
        return WordTokenizer(_scene_words())

    def build_data(self) -> TrainingData:
        """Draw scenes as they are needed."""
        return _scene_data(self, self.data, [thing.name for thing in THINGS[: self.data.num_things]])

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Measure masks, places, retrieval and classification on further scenes."""
        return _evaluate(model, self.data, self.evaluation)


@dataclass(frozen=True, kw_only=True)
class PasteSimSegRecipe(SimSegRecipe):
    """Train on scenes of real artwork.

    Attributes:
        data: Settings of the scenes to train on, and the folder of artwork.
        evaluation: Settings of the evaluation on held-out scenes.
    """

    data: PasteSettings = field(default_factory=lambda: PasteSettings(folder=Path("emoji")))
    evaluation: SceneEvaluation = field(default_factory=SceneEvaluation)

    def build_tokenizer(self) -> CaptionTokenizer:
        """Build BERT's WordPiece tokenizer: names of artwork are words of any kind.

        Raises:
            MissingWeightsError: The package that carries them is not installed.
        """
        return WordPieceTokenizer(TOKENIZER.verified_path())

    def build_data(self) -> TrainingData:
        """Draw scenes as they are needed.

        Raises:
            DatasetError: The folder of artwork cannot be used.
        """
        return _scene_data(self, self.data, sorted(FILLERS))

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Measure masks, places, retrieval and classification on further scenes, unseen names included."""
        return _evaluate(model, self.data, self.evaluation)


@dataclass(frozen=True, kw_only=True)
class CorruptCaption:
    """Corrupts a caption by a seed of its own; crosses process borders."""

    settings: WordCorruption
    replacements: tuple[str, ...]

    def __call__(self, caption: str, seed: int) -> str:
        """Mask, replace or delete some words."""
        return corrupt_words(caption, self.replacements, np.random.default_rng(seed), self.settings)


def paper() -> CaptionSimSegRecipe:
    """Train ViT-S/16 and BERT-base as the paper does (its Table 5): 20 epochs of CC3M and CC12M.

    ``num_steps`` is 20 epochs of 14.3 million pairs; few of these links still work, so set it to what you have.
    """
    return CaptionSimSegRecipe(
        optim=OptimSettings(
            lr=3e-4,
            weight_decay=0.2,
            betas=(0.9, 0.98),
            eps=1e-6,
            warmup_fraction=0.025,
            final_factor=0.1,
        ),
        run=RunSettings(
            num_steps=69_800, batch_size=4096, sub_batch_size=1024, precision="bf16", num_workers=8
        ),
    )


def paper_b16() -> CaptionSimSegRecipe:
    """Train the larger image encoder of the paper, ViT-B/16."""
    return replace(paper(), image=VIT_B16)


def scenes() -> SceneSimSegRecipe:
    """Train a small SimSeg on synthetic scenes until it finds things: minutes on one CPU core."""
    return SceneSimSegRecipe(
        method=SimSegSettings(embedding_dim=128),
        image=ViTShape(width=64, depth=3, num_heads=2, patch=8, image_side=64, init_std=0.08),
        text=BertShape(width=64, depth=2, num_heads=2, max_tokens=20, init_std=0.08),
        test_side=64,
        refine="none",
        corruption=None,  # with 20 % of the words, captions of one to three names lose too much
        optim=OptimSettings(
            lr=2e-3,
            weight_decay=0.05,
            betas=(0.9, 0.98),
            eps=1e-6,
            warmup_fraction=0.05,
            final_factor=0.1,
        ),
        run=RunSettings(num_steps=2000, batch_size=128),
    )


def tiny() -> SceneSimSegRecipe:
    """Train a tiny SimSeg on synthetic scenes for some seconds: shows that everything runs."""
    small = scenes()
    return replace(
        small,
        method=replace(small.method, embedding_dim=32),
        image=replace(small.image, width=32, depth=1, num_heads=1),
        text=replace(small.text, width=32, depth=1, num_heads=1),
        evaluation=SceneEvaluation(num_scenes=32),
        run=RunSettings(num_steps=30, batch_size=32),
    )


def emoji() -> PasteSimSegRecipe:
    """Train on scenes of emoji, a tenth of the names held out; wants a GPU, and the folder of emoji."""
    return PasteSimSegRecipe(
        method=SimSegSettings(embedding_dim=256),
        image=ViTShape(width=192, depth=6, num_heads=6, patch=8, image_side=96),
        text=BertShape(width=192, depth=4, num_heads=6),
        test_side=96,
        prompts="openai7",  # there are two thousand names
        refine="none",
        data=PasteSettings(
            folder=Path("emoji"),
            size=96,
            mention_rate=0.9,
            adjective_rate=0.5,
            closing_rate=0.5,
            stuff_as="background",
            unseen_share=0.1,
        ),
        optim=OptimSettings(
            lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-6, warmup_fraction=0.05, final_factor=0.1
        ),
        run=RunSettings(num_steps=30_000, batch_size=512, precision="bf16", num_workers=8),
    )


def _scene_words() -> list[str]:
    return [
        *sorted(FILLERS),
        *(word for thing in THINGS for word in (thing.name, thing.synonym)),
        *(word for stuff in STUFFS for word in (stuff.name, stuff.synonym)),
        "background",
    ]


def _scene_data(recipe: SimSegRecipe, data: WorldSettings, replacements: Sequence[str]) -> TrainingData:
    if data.size != recipe.image.image_side:
        raise InputError(
            doing="reading the recipe",
            found=f"scenes of {data.size} pixels for an image encoder of {recipe.image.image_side}",
            expected="the same",
            fix="Change data.size or image.image_side.",
        )
    corruption = (
        None
        if recipe.corruption is None
        else CorruptCaption(settings=recipe.corruption, replacements=tuple(replacements))
    )
    return scene_training_data(
        data, seed=recipe.run.seed, batch_size=recipe.run.batch_size, corruption=corruption
    )


def _evaluate(model: Trainable, data: WorldSettings, evaluation: SceneEvaluation) -> dict[str, float]:
    assert isinstance(model, SimSeg)
    dataset = SceneDataset(data, evaluation.num_scenes, seed=evaluation.seed)
    return evaluate_on_scenes(model, dataset, common=data.common_class)
