"""groupvit: training from captions, and published checkpoints as segmenters.

``paper`` is the recipe of the released code; ``scenes`` is small enough for a CPU; ``tiny`` only shows that
everything runs. Measured in benchmarks/accuracy/groupvit.md.
"""

import math
from abc import abstractmethod
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import Trainable
from lexiseg.data.augmentation.rand_augment import RandAugment
from lexiseg.data.augmentation.random_crop import RandomCropSettings
from lexiseg.data.augmentation.random_erasing import RandomErasing
from lexiseg.data.captions.word_prompts import MakeTexts, WordListTagger, WordPrompts
from lexiseg.data.scenes import SceneDataset, SceneSettings, scene_training_data
from lexiseg.data.scenes.captions import FILLERS
from lexiseg.data.scenes.class_table import STUFFS, THINGS
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.groupvit.segmenter import GroupViT
from lexiseg.methods.groupvit.settings import GroupViTSettings, SegmentSettings
from lexiseg.models.bert import WordPieceTokenizer, WordTokenizer
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.groupvit import GroupViTNetwork
from lexiseg.models.groupvit_checkpoint import load_groupvit
from lexiseg.models.groupvit_encoders import GroupViTImageEncoder, GroupViTTextEncoder
from lexiseg.models.groupvit_shape import GroupViTShape
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.minilm import TOKENIZER
from lexiseg.models.pixel_normalisation import PixelNormalisation
from lexiseg.models.text_tokens import BytePairTokenizer, CaptionTokenizer
from lexiseg.models.vit import IMAGENET_MEAN, IMAGENET_STD
from lexiseg.recipes.base import Recipe
from lexiseg.recipes.caption_files import CaptionFilesRecipe
from lexiseg.recipes.word_settings import CurationSettings, WordSettings
from lexiseg.scoring.evaluate import evaluate

#: Threshold of background that was published for PASCAL VOC and COCO; PASCAL Context has 0.35.
THRESHOLD = 0.95
#: Batches below this are too small for the statistics of a batch norm.
_LEAST_FOR_BATCH_NORM = 16
# Words that captions of scenes and prompts are made of; others are unknown to the small tokenizer.
_PROMPT_WORDS = "a photo of"


def build_groupvit(name_or_path: str, segments: SegmentSettings | None = None) -> Segmenter:
    """Load a published checkpoint, or a folder in its layout, as a segmenter.

    Args:
        name_or_path: A hub id such as ``nvidia/groupvit-gcc-yfcc``, or a local folder.
        segments: How segments are named; None for the published choices.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    segments = segments or SegmentSettings()
    image, text, logit_scale = load_groupvit(
        resolve_checkpoint(name_or_path), hard_maps=segments.maps == "hard"
    )
    model = GroupViT(
        image,
        text,
        logit_scale,
        name=name_or_path,
        settings=inference_settings(2 * image.shape.image_side),
        method=GroupViTSettings(segments=segments),
    )
    model.method_settings = {
        **asdict(segments),
        "image_weights": fingerprint(image),
        "text_weights": text.fingerprint,
    }
    return model.requires_grad_(False)


def inference_settings(side: int, threshold: float = THRESHOLD) -> InferenceSettings:
    """Return the published inference: windows of ``side`` pixels, half a window apart, averaged."""
    return InferenceSettings(
        short_side=side,
        max_long_side=max(2048, side),
        window=side,
        window_stride=side // 2,
        prompts="single",
        threshold=threshold,
        refine="none",
    )


@dataclass(frozen=True, kw_only=True)
class GroupViTRecipe(Recipe):
    """What all GroupViT runs have in common.

    Attributes:
        method: Losses, and how segments are named.
        shape: Size of the network.
        test_side: Short side of images, and side of windows, after training.
        threshold: Affinity below which segments are background, where background goes by a threshold.
    """

    method: GroupViTSettings = field(default_factory=GroupViTSettings)
    shape: GroupViTShape = field(default_factory=GroupViTShape)
    test_side: int = 448
    threshold: float = THRESHOLD

    def build_model(self) -> GroupViT:
        """Build the network with random weights.

        Raises:
            InputError: Batches are too small for a batch norm.
        """
        if self.shape.projection_norm == "batch" and self.run.batch_size < _LEAST_FOR_BATCH_NORM:
            raise InputError(
                doing="building GroupViT",
                found=f"batches of {self.run.batch_size} for a batch norm in the projections",
                expected=f"{_LEAST_FOR_BATCH_NORM} samples or more",
                fix="Raise run.batch_size, or set shape.projection_norm to layer.",
            )
        tokenizer = self.build_tokenizer()
        network = GroupViTNetwork(self.shape, tokenizer.num_tokens).initialise()
        network.logit_scale.data.fill_(math.log(self.method.initial_scale))
        normalisation = PixelNormalisation(IMAGENET_MEAN, IMAGENET_STD)
        return GroupViT(
            GroupViTImageEncoder(network, normalisation, hard_maps=self.method.segments.maps == "hard"),
            GroupViTTextEncoder(
                network,
                partial(tokenizer.ids, max_tokens=self.shape.max_tokens),
                tokenizer.identity,
                unknown_share=tokenizer.unknown_share,
            ),
            network.logit_scale,
            settings=inference_settings(self.test_side, self.threshold),
            method=self.method,
        )

    @abstractmethod
    def build_tokenizer(self) -> CaptionTokenizer:
        """Build what turns sentences into token ids."""


@dataclass(frozen=True, kw_only=True)
class CaptionGroupViTRecipe(GroupViTRecipe, CaptionFilesRecipe):
    """Train on images with captions: a folder, tar shards or Parquet files.

    Attributes:
        tokenizer: Folder with the tokenizer of CLIP or of a GroupViT checkpoint, as published; none takes BERT's
            30,522 pieces, which come through pip.
        words: Which words of captions are asked for.
        curation: Ask for curated concepts in their place; none does not.
        crop: Which part of an image is taken.
        rand_augment: Change images by RandAugment; none does not.
        erasing: Fill rectangles of images with noise; none does not.
    """

    tokenizer: Path | None = None
    words: WordSettings = field(default_factory=WordSettings)
    curation: CurationSettings | None = None
    crop: RandomCropSettings = field(default_factory=lambda: RandomCropSettings(min_area=0.08))
    rand_augment: RandAugment | None = field(default_factory=RandAugment)
    erasing: RandomErasing | None = field(default_factory=RandomErasing)

    def build_tokenizer(self) -> CaptionTokenizer:
        """Read CLIP's pieces, or BERT's from the pip package that carries all-MiniLM-L6-v2.

        Raises:
            CheckpointError: The tokenizer cannot be read.
            MissingWeightsError: None is given, and the package is not installed.
        """
        if self.tokenizer is None:
            return WordPieceTokenizer(TOKENIZER.verified_path())
        return BytePairTokenizer(self.tokenizer)

    def build_data(self) -> TrainingData:
        """Open the captions.

        Raises:
            DatasetError: They cannot be used.
            MissingPackageError: NLTK is asked for and is not installed.
        """
        return self.open_files(
            size=self.shape.image_side,
            crop=self.crop,
            auto_augment=False,
            flip=True,
            rand_augment=self.rand_augment,
            erasing=self.erasing,
            word_prompts=self._word_prompts() if self.method.word_loss > 0 else None,
        )

    def _word_prompts(self) -> MakeTexts:
        return self.words.build() if self.curation is None else self.curation.build(self.words)


def named_scenes() -> SceneSettings:
    """Return scenes of 12 things on 6 stuffs, all of them classes, of which captions name the most.

    A segment is named by what captions say: pixels that no caption ever speaks of, as an unnamed background, would
    take the name of a thing.
    """
    return SceneSettings(num_things=12, num_stuffs=6, stuff_mention_rate=0.7)


@dataclass(frozen=True, kw_only=True)
class SceneGroupViTRecipe(GroupViTRecipe):
    """Train on synthetic scenes.

    Attributes:
        data: What scenes are like.
        num_words: Word prompts a scene.
        word_prompts: Prompt set that words are put into.
        num_scenes: Scenes to evaluate on; no training sees any of them.
    """

    data: SceneSettings = field(default_factory=named_scenes)
    num_words: int = 3
    word_prompts: str = "single"
    num_scenes: int = 500

    def build_tokenizer(self) -> CaptionTokenizer:
        """Know every word that captions of scenes and prompts are made of."""
        return WordTokenizer([*scene_words(), *_PROMPT_WORDS.split(), "background"])

    def build_data(self) -> TrainingData:
        """Draw scenes as they are needed; the words asked for are names of classes in the caption.

        Raises:
            InputError: Scenes are of another size than the network's images.
        """
        self.check_size()
        prompts = WordPrompts(
            tagger=WordListTagger(class_words()), count=self.num_words, prompts=self.word_prompts
        )
        return scene_training_data(
            self.data,
            seed=self.run.seed,
            batch_size=self.run.batch_size,
            word_prompts=prompts if self.method.word_loss > 0 else None,
        )

    def check_size(self) -> None:
        """Compare the size of scenes with the network's.

        Raises:
            InputError: They differ.
        """
        if self.data.size != self.shape.image_side:
            raise InputError(
                doing="reading the recipe",
                found=f"scenes of {self.data.size} pixels for an image encoder of {self.shape.image_side}",
                expected="the same",
                fix="Change data.size or shape.image_side.",
            )

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Measure masks on further scenes."""
        assert isinstance(model, GroupViT)
        return scene_scores(model, SceneDataset(self.data, self.num_scenes))


def scene_scores(model: GroupViT, dataset: SceneDataset) -> dict[str, float]:
    """Measure the masks of a model in evaluation mode.

    Args:
        model: A GroupViT.
        dataset: Scenes.

    Returns:
        Fractions in [0, 1]: ``mean_iou`` of all classes; where background is one of them, by the model's threshold,
        also ``foreground_mean_iou`` without it and ``background``.
    """
    background = dataset.vocabulary.background
    how: dict[str, Any] = {"tiles": "off"}
    if background is not None:
        how["background"] = "threshold"
    ious = np.asarray(evaluate(model, dataset, **how).scores.iou)
    found = {"mean_iou": float(np.nanmean(ious))}
    if background is not None:
        found["foreground_mean_iou"] = float(np.nanmean(np.delete(ious, background)))
        found["background"] = float(ious[background])
    return found


def class_words() -> list[str]:
    """List every name and synonym of a class of scenes."""
    return [
        *(word for thing in THINGS for word in (thing.name, thing.synonym)),
        *(word for stuff in STUFFS for word in (stuff.name, stuff.synonym)),
    ]


def scene_words() -> list[str]:
    """List every word that captions of scenes are made of."""
    return [*sorted(FILLERS), *class_words()]


def paper() -> CaptionGroupViTRecipe:
    """Train GroupViT as its released code does: 30 epochs of CC3M, CC12M and YFCC14M, 16 GPUs.

    ``num_steps`` is 30 epochs of 28.7 million pairs; few of these links still work, so set it to what you have,
    and scale the learning rate with the batch. Give ``--tokenizer``.
    """
    num_steps = 30 * (2_891_445 + 11_156_203 + 14_615_499) // 4096
    return CaptionGroupViTRecipe(
        optim=OptimSettings(
            lr=1.6e-3,
            weight_decay=0.05,
            betas=(0.9, 0.999),
            warmup_fraction=2 / 30,
            warmup_start=4e-6 / 1.6e-3,
            final_factor=4e-5 / 1.6e-3,
            clip_norm=5.0,
        ),
        run=RunSettings(
            num_steps=num_steps, batch_size=4096, sub_batch_size=256, precision="bf16", num_workers=8
        ),
    )


def scenes() -> SceneGroupViTRecipe:
    """Train a small GroupViT on synthetic scenes whose captions name things and what is behind them."""
    return SceneGroupViTRecipe(
        shape=GroupViTShape(
            width=64,
            num_heads=2,
            patch=8,
            image_side=64,
            depths=(1, 2),
            group_tokens=(8, 0),
            groups=(6, 0),
            feed_forward=256,
            drop_path=0.0,
            text_width=64,
            text_depth=2,
            text_heads=2,
            text_feed_forward=256,
            max_tokens=20,
            projection_hidden=256,
            embedding_dim=128,
            init_std=0.08,
            spread_groups=True,
        ),
        test_side=64,
        optim=OptimSettings(
            lr=1e-3, weight_decay=0.05, warmup_fraction=0.05, final_factor=0.1, clip_norm=5.0
        ),
        run=RunSettings(num_steps=2000, batch_size=64),
    )


def tiny() -> SceneGroupViTRecipe:
    """Train a tiny GroupViT on synthetic scenes for some seconds: shows that everything runs."""
    small = scenes()
    shape = replace(
        small.shape,
        width=32,
        num_heads=1,
        depths=(1, 1, 1),
        group_tokens=(8, 4, 0),
        groups=(8, 4, 0),
        feed_forward=64,
        text_width=32,
        text_depth=1,
        text_heads=1,
        text_feed_forward=64,
        projection_hidden=64,
        embedding_dim=32,
        projection_norm="layer",
    )
    return replace(small, shape=shape, num_scenes=32, run=RunSettings(num_steps=30, batch_size=32))
