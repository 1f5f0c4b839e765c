"""Recipes of SimFormer: masks for some classes, tags for the others.

What differs from the paper, and why: docs/methods/simformer.md.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import Trainable
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.augmentation.labelled_crop import LabelledCropSettings
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.inference.settings import InferenceSettings
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.methods.simformer.model import SimFormer
from lexiseg.methods.simformer.per_pixel import PerPixelSegmenter
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.metrics.iou import Scores
from lexiseg.models.backbones import (
    Dinov2Pyramid,
    build_backbone,
    describe_backbone,
)
from lexiseg.models.dinov2_small import NAME as DINOV2_SMALL
from lexiseg.models.maskformer import TINY, MaskFormer, MaskFormerSettings, PerPixelClassifier
from lexiseg.recipes.backbone import EFFICIENTNET, TINY_BACKBONE, load_backbone
from lexiseg.recipes.base import RebuildableRecipe
from lexiseg.recipes.partial_labels import CLOTHING, FOLDER, WeakShotSource
from lexiseg.recipes.simformer_start import Start, load_start
from lexiseg.scoring.evaluate import evaluate

#: Weight of the class where short trainings match: proposals find their classes while masks are still poor.
MATCHING = 20.0

#: Number of DINOv2's own patches among its maps: the coarsest has 2×2 places of an image of 112×112 pixels.
_PATCHES = 1

#: Those of the method's paper.
RESNET50 = "microsoft/resnet-50"


@dataclass(frozen=True, kw_only=True)
class PseudoMaskSettings:
    """How images are looked at when a re-training draws pseudo masks.

    Attributes:
        short_sides: Short sides of an image in pixels, whose scores are added up; none for that of inference.
        mirrored: Look at every size mirrored too.
        min_pixels: Least number of pixels, of all images together, that a class with tags must get for a second
            training to begin; 0 trains whatever comes out.
    """

    short_sides: tuple[int, ...] = ()
    mirrored: bool = False
    min_pixels: int = 1

    def __post_init__(self) -> None:
        ranges = {"short_sides": Range(least=1, most=100_000), "min_pixels": Range(least=0)}
        check_ranges(self, ranges, method="pseudo masks")


@dataclass(frozen=True, kw_only=True)
class SimFormerRecipe(RebuildableRecipe):
    """Train a MaskFormer with masks for some classes and tags for the others.

    Attributes:
        data: Images to train with and to evaluate on.
        method: Settings of the losses. ``--method.pairs none`` is the paper's Basic, ``self`` its Self-Pair.
        network: Sizes of MaskFormer above the backbone.
        backbone: Backbone: ``tiny`` (from random numbers), ``efficientnet-lite0``, ``dinov2-small``, or the hub id
            or folder of an ImageNet ResNet or Swin, or of a DINOv2.
        backbone_weights: ``trained`` with the rest; ``frozen``; or ``cached``: frozen, and the features of each image
            are computed once and kept on disk, which needs DINOv2 and images that come again as they are.
        init_from: Start the training from a network that is trained already: the hub id or folder of a MaskFormer
            checkpoint, or the folder of a run of SimFormer. Backbone and sizes are then its own (``backbone`` and
            ``network`` are not looked at), and classes of its names begin with its class weights; a run also
            gives its SimNet. None starts from the backbone.
        classifier: ``masks``: proposals with a mask and a class, which is the method. ``pixels``: a class for every
            pixel, on the same backbone and pixel decoder, learnt from masks alone: what tables are read
            beside, with ``data.all_masks``.
        pseudo_masks: Views of an image that pseudo masks come from in a re-training; training itself does not look
            at them.
        short_side: Short side that an image is resized to at inference, in pixels.
        max_long_side: Largest long side at inference, in pixels.
    """

    data: WeakShotSource = field(default_factory=WeakShotSource)
    method: SimFormerSettings = field(default_factory=SimFormerSettings)
    network: MaskFormerSettings = field(default_factory=MaskFormerSettings)
    backbone: str = RESNET50
    backbone_weights: Literal["trained", "frozen", "cached"] = "trained"
    init_from: str | None = None
    classifier: Literal["masks", "pixels"] = "masks"
    pseudo_masks: PseudoMaskSettings = field(default_factory=PseudoMaskSettings)
    short_side: int = 512
    max_long_side: int = 2048

    def build_model(self) -> Trainable:
        """Build the network on its backbone.

        Raises:
            MissingWeightsError: The backbone's weights are not here.
            InputError: Features are to be kept, and the backbone or the data do not allow it.
        """
        vocabulary = self.data.trained_vocabulary()
        if self.init_from is not None:
            return self._started(load_start(self.init_from), vocabulary)
        backbone = load_backbone(self.backbone)
        if self.backbone_weights != "trained":
            backbone.requires_grad_(False)
        if self.backbone_weights == "cached":
            self._refuse_useless_cache(backbone)
            assert isinstance(backbone, Dinov2Pyramid)
            encoder = backbone.encoder
            backbone.take_tokens_from(CachedEncoder(encoder, fingerprint=encoder.fingerprint))
        return self._built(backbone, vocabulary, self.network)

    def _started(self, start: Start, vocabulary: Vocabulary) -> SimFormer:
        """Build the network of a trained one, with its weights as far as they are of the same thing.

        Raises:
            InputError: A setting of the recipe has no use beside it.
        """
        found = []
        if self.classifier != "masks":
            found.append(f"classifier = {self.classifier}")
        if self.backbone_weights == "cached":
            found.append("backbone_weights = cached")
        if found:
            raise InputError(
                doing=f"starting from {self.init_from}",
                found=" and ".join(found),
                expected="a training of proposals whose backbone is computed anew",
                fix="Leave out --init-from, or take --classifier masks and --backbone-weights trained or frozen.",
            )
        model = self._built(start.network.backbone, vocabulary, start.network.settings)
        assert isinstance(model, SimFormer)
        start.give_weights(model)
        model.requires_grad_(True)
        if self.backbone_weights == "frozen":
            model.network.backbone.requires_grad_(False)
        return model

    def _refuse_useless_cache(self, backbone: PyramidBackbone) -> None:
        crop = self.data.crop
        found = []
        if not isinstance(backbone, Dinov2Pyramid):
            found.append(f"the backbone {self.backbone}")
        if crop is not None and not crop.repeats:
            found.append(
                f"scales {crop.min_scale:g}–{crop.max_scale:g}, corners every {crop.position_step} pixels, "
                f"{'changed' if crop.colour_jitter else 'unchanged'} colours"
            )
        if found:
            raise InputError(
                doing="keeping the features of a frozen backbone on disk",
                found=" and ".join(found),
                expected="DINOv2, and images that come again: one scale, corners on a lattice, their own colours",
                fix="Set --data.crop as the recipe simformer/clothing-frozen does, or --backbone-weights frozen.",
            )

    def describe_model(self, model: Trainable) -> dict[str, Any]:
        """Return the classes and what the backbone is, without its weights."""
        assert isinstance(model, SimFormer | PerPixelSegmenter)
        vocabulary = model.vocabulary
        return {
            "names": list(vocabulary.names),
            "synonyms": [list(words) for words in vocabulary.synonyms],
            "background": vocabulary.background,
            "seen": None if vocabulary.seen is None else sorted(vocabulary.seen),
            "backbone": describe_backbone(model.network.backbone),
            "network": asdict(model.network.settings),
        }

    def rebuild_model(self, described: Mapping[str, Any]) -> Trainable:
        """Build the model without weights, looking neither at the data nor for the backbone's weights."""
        seen = described["seen"]
        vocabulary = Vocabulary(
            names=tuple(described["names"]),
            synonyms=tuple(tuple(words) for words in described["synonyms"]),
            background=described["background"],
            seen=None if seen is None else frozenset(seen),
        )
        sizes = self.network if "network" not in described else MaskFormerSettings(**described["network"])
        return self._built(build_backbone(described["backbone"]), vocabulary, sizes)

    def _built(
        self, backbone: PyramidBackbone, vocabulary: Vocabulary, sizes: MaskFormerSettings
    ) -> SimFormer | PerPixelSegmenter:
        settings = InferenceSettings(
            short_side=self.short_side,
            max_long_side=self.max_long_side,
            background="name",
            refine="none",
        )
        if self.classifier == "pixels":
            classifier = PerPixelClassifier(backbone, len(vocabulary), sizes)
            return PerPixelSegmenter(classifier, vocabulary, method=self.method, settings=settings)
        network = MaskFormer(backbone, len(vocabulary), sizes)
        return SimFormer(network, vocabulary, method=self.method, settings=settings)

    def build_data(self) -> TrainingData:
        """Open the training images; all are read once.

        Raises:
            InputError: The settings do not fit the data or each other.
            DatasetError: The copy of the data is incomplete or contradicts itself.
        """
        devices = int(os.environ.get("WORLD_SIZE", "1"))
        if self.run.batch_size % (2 * devices) or (self.run.sub_batch_size or 2) % 2:
            at_once = self.run.sub_batch_size or "all"
            raise InputError(
                doing="pairing images",
                found=f"batches of {self.run.batch_size} on {devices} devices, {at_once} at once",
                expected="even numbers: rows 2p and 2p + 1 of a batch are a pair",
                fix="Change --run.batch-size or --run.sub-batch-size.",
            )
        data = self.data.training_data(batch_size=self.run.batch_size, seed=self.run.seed)
        most = int(data.describe()["most_classes"])
        if self.classifier == "masks" and self.init_from is None and most > self.network.num_queries:
            raise InputError(
                doing="opening the training data",
                found=f"an image of {most} classes, and network.num_queries = {self.network.num_queries}",
                expected="a proposal for every class of an image, and some to spare",
                fix=f"Give --network.num-queries {most + max(10, most // 2)}.",
            )
        self.data.scored_images()  # what is missing there shows now, not when the training is over
        return data

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Segment the images to score: mean IoU of unseen and of seen classes.

        ``unseen_mean_iou_present``, the mean over unseen classes that occur in the truth, is the paper's number.
        The others average over classes that occur or are predicted, as ``Scores`` says. Left out is
        what nothing defines, such as the score of unseen classes in images without masks of them.
        """
        assert isinstance(model, SimFormer | PerPixelSegmenter)
        images = self.data.scored_images()
        if images is None:
            return {}
        scores = evaluate(model, images, tiles="off").scores
        found = {
            "unseen_mean_iou_present": _mean_present(scores, scores.unseen),
            "seen_mean_iou_present": _mean_present(scores, scores.seen),
            "unseen_mean_iou": scores.unseen_mean_iou,
            "seen_mean_iou": scores.seen_mean_iou,
            "harmonic_iou": scores.harmonic_iou,
            "mean_iou": scores.mean_iou,
        }
        return {
            name: float(value) for name, value in found.items() if value is not None and not math.isnan(value)
        }


def tiny() -> SimFormerRecipe:
    """Train a tiny SimFormer on a few synthetic scenes in seconds: to see that everything runs."""
    return SimFormerRecipe(
        data=WeakShotSource(num_scenes=64, num_scored_scenes=8),
        method=SimFormerSettings(num_points=16, backbone_lr_factor=1.0),
        network=TINY,
        backbone=TINY_BACKBONE,
        short_side=64,
        optim=OptimSettings(lr=1e-3, weight_decay=1e-4, schedule="poly", clip_norm=1.0),
        run=RunSettings(num_steps=20, batch_size=8, log_every=5),
    )


def scenes() -> SimFormerRecipe:
    """Train a small SimFormer on synthetic scenes: 12 classes, 3 of them with tags only."""
    return SimFormerRecipe(
        data=WeakShotSource(num_scenes=2000, num_scored_scenes=200),
        method=SimFormerSettings(num_points=32, backbone_lr_factor=1.0, matching_classification=MATCHING),
        network=replace(TINY, width=64, feedforward=128, learned_start=True),
        backbone=TINY_BACKBONE,
        short_side=64,
        optim=OptimSettings(lr=1e-3, weight_decay=1e-4, schedule="poly", clip_norm=1.0),
        run=RunSettings(num_steps=2000, batch_size=16),
    )


def clothing() -> SimFormerRecipe:
    """Train on photographs of dressed people: masks for most garments, tags for five of them.

    ``data.path`` is to be given: the folder of Clothing Co-Parsing in our own layout.
    """
    return SimFormerRecipe(
        data=WeakShotSource(
            dataset=CLOTHING,
            crop=LabelledCropSettings(size=256, min_scale=0.75, max_scale=1.5),
        ),
        method=SimFormerSettings(matching_classification=MATCHING),
        network=MaskFormerSettings(
            width=128, num_queries=50, num_layers=3, feedforward=512, learned_start=True
        ),
        backbone=EFFICIENTNET,
        short_side=256,
        max_long_side=512,
        optim=poly_optim(3e-4, clip_norm=0.1),
        run=RunSettings(num_steps=4000, batch_size=8),
    )


def clothing_frozen() -> SimFormerRecipe:
    """Train on the same photographs above a frozen DINOv2 (dinov2-small), every image encoded once.

    ``data.path`` is to be given. A photograph is fitted into the square, and mirrored or not: two variants each.
    """
    return replace(
        clothing(),
        data=WeakShotSource(
            dataset=CLOTHING,
            crop=LabelledCropSettings(
                size=336,
                base_short_side=224,
                min_scale=1.0,
                max_scale=1.0,
                colour_jitter=False,
                position_step=56,
            ),
        ),
        network=replace(clothing().network, decoder_map=_PATCHES),
        backbone=DINOV2_SMALL,
        backbone_weights="cached",
        short_side=224,
        max_long_side=448,
        optim=poly_optim(1e-3, clip_norm=0.1),
    )


def folder() -> SimFormerRecipe:
    """Train on your own folder: labels/ for the classes in seen.txt, tags.tsv for the others."""
    return SimFormerRecipe(
        data=WeakShotSource(dataset=FOLDER, unseen_masks="refuse", crop=LabelledCropSettings(size=512)),
        method=SimFormerSettings(matching_classification=MATCHING),
        network=MaskFormerSettings(learned_start=True),
        optim=poly_optim(1e-4),
        run=RunSettings(num_steps=20_000, batch_size=8),
    )


def folder_frozen() -> SimFormerRecipe:
    """Train on your own folder above a frozen DINOv2 (dinov2-small), every image encoded once: minutes on a CPU.

    An image is fitted into the square, and mirrored or not: two variants each.
    """
    return replace(
        clothing_frozen(),
        data=WeakShotSource(
            dataset=FOLDER,
            unseen_masks="refuse",
            crop=LabelledCropSettings(
                size=224,
                base_short_side=168,
                min_scale=1.0,
                max_scale=1.0,
                colour_jitter=False,
                position_step=56,
            ),
        ),
        method=SimFormerSettings(num_points=32, matching_classification=MATCHING),
        network=MaskFormerSettings(
            width=64,
            num_queries=30,
            num_layers=3,
            num_heads=4,
            feedforward=256,
            dropout=0.0,
            norm_groups=8,
            learned_start=True,
            decoder_map=_PATCHES,
        ),
        short_side=168,
        max_long_side=336,
        optim=poly_optim(1e-3, clip_norm=1.0),
        run=RunSettings(num_steps=1000, batch_size=8),
    )


def poly_optim(lr: float, clip_norm: float = 0.01) -> OptimSettings:
    """Return the schedule of the method's paper at another learning rate."""
    return OptimSettings(lr=lr, weight_decay=1e-4, schedule="poly", poly_power=0.9, clip_norm=clip_norm)


def _mean_present(scores: Scores, classes: frozenset[int] | None) -> float | None:
    occurring = [label for label in sorted(classes or ()) if scores.true_pixels[label]]
    return float(scores.iou[occurring].mean()) if occurring else None
