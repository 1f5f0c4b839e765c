"""Recipes of CLIP-to-Seg Distillation: masks for some classes, only names for the others.

The paper's code was not published: docs/methods/clip_to_seg.md says what is a reading of ours.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import Trainable
from lexiseg.data.augmentation.labelled_crop import LabelledCropSettings
from lexiseg.data.partial_labels.distillation_batches import distillation_data
from lexiseg.data.scenes.teacher import SceneTeacherSettings
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.inference.settings import InferenceSettings
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.methods.clip_to_seg.distillation import Distillation
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.methods.clip_to_seg.settings import ClipToSegSettings
from lexiseg.methods.clip_to_seg.teacher import unit_texts
from lexiseg.models.backbones import (
    TinyPyramid,
    build_backbone,
    describe_backbone,
    load_segformer,
)
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.dense_student import DenseStudent, PackedPyramid, StudentSettings
from lexiseg.recipes.backbone import EFFICIENTNET, LOADERS, TINY_BACKBONE, load_backbone
from lexiseg.recipes.base import RebuildableRecipe
from lexiseg.recipes.partial_labels import CLOTHING, FOLDER, SCENES, ZeroShotSource
from lexiseg.recipes.teachers import (
    SCENE_TEACHERS,
    TeacherSettings,
    open_features,
    open_teacher,
    open_text_space,
)
from lexiseg.scoring.evaluate import evaluate

#: The paper tried SegFormer among others; which size is not known.
MIT_B2 = "nvidia/mit-b2"
#: The paper's teacher.
CLIP_B16 = "openai/clip-vit-base-patch16"
_LOADERS = {**LOADERS, "segformer": load_segformer}


@dataclass(frozen=True, kw_only=True)
class ClipToSegRecipe(RebuildableRecipe):
    """Teach a plain segmenter the space of an image-text model, with masks for some classes or for none.

    Attributes:
        data: Images to train with and to score.
        teacher: Who teaches.
        method: What is taught, and γ.
        student: What is trained.
        backbone: ``tiny`` (from random numbers), ``efficientnet-lite0``, ``dinov2-small``, or the hub id or folder of a
            SegFormer, an ImageNet ResNet or Swin, or a DINOv2.
        short_side: Of an image that is segmented.
        max_long_side: Its bound.
    """

    data: ZeroShotSource = field(default_factory=ZeroShotSource)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    method: ClipToSegSettings = field(default_factory=ClipToSegSettings)
    student: StudentSettings = field(default_factory=StudentSettings)
    backbone: str = MIT_B2
    short_side: int = 512
    max_long_side: int = 2048

    def build_model(self) -> Trainable:
        """Build the student on its backbone, and what it is taught with.

        Raises:
            MissingWeightsError: The weights of the backbone or the teacher are not here.
            InputError: The settings do not fit each other.
        """
        backbone = load_backbone(self.backbone, _LOADERS, build_tiny=partial(TinyPyramid, first_stride=4))
        self._refuse_what_does_not_fit(backbone)
        seen, unseen = self._names()
        space = open_text_space(self.teacher, self.data.scenes)
        names = (*seen, *(unseen if self.method.transductive else ()))
        # A space is as wide as the vector of any word.
        texts = unit_texts(space, names or ("anything",), self.teacher.prompts).cpu()[: len(names)]
        teacher = None
        if self.teacher.name not in SCENE_TEACHERS:
            remembers = self.teacher.remembers and self.data.crop is None
            teacher = open_teacher(replace(self.teacher, remembers=remembers))
        model = self._built(backbone, seen, texts.shape[1])
        model.distillation = Distillation(texts, len(seen), self.method, teacher)
        if self.student.remembers:
            packed = PackedPyramid(backbone)
            maps_of = fingerprint(packed, self.backbone, repr(describe_backbone(backbone)))
            model.student.take_maps_from(CachedEncoder(packed, fingerprint=maps_of))
        return model

    def _refuse_what_does_not_fit(self, backbone: PyramidBackbone) -> None:
        coarsest, crop = backbone.strides[-1], self.data.crop
        size = self.data.size if crop is None else crop.size
        if size % coarsest:
            raise InputError(
                doing=f"setting up CLIP-to-Seg on {self.backbone}",
                found=f"training squares of {size} pixels",
                expected=f"a multiple of {coarsest}, the stride of its coarsest map",
                fix=f"Give --data.{'size' if crop is None else 'crop.size'} {max(coarsest, size // coarsest * coarsest)}.",
            )
        if self.student.remembers and (not self.student.freeze or crop is not None):
            raise InputError(
                doing="keeping the maps of the student's backbone on disk (student.remembers)",
                found="a backbone that is trained" if not self.student.freeze else "random crops",
                expected="a frozen backbone, and whole images, which come again as they are",
                fix="Give --student.freeze and leave out --data.crop, or leave out --student.remembers.",
            )

    def describe_model(self, model: Trainable) -> dict[str, Any]:
        """Return the names of seen classes and what the student is, without its weights."""
        assert isinstance(model, ClipToSeg)
        return {
            "seen": list(model.seen),
            "dimensions": model.student.dimensions,
            "backbone": describe_backbone(model.student.backbone),
        }

    def rebuild_model(self, described: Mapping[str, Any]) -> Trainable:
        """Build the student without weights and without what it was taught with."""
        backbone = build_backbone(described["backbone"])
        return self._built(backbone, tuple(described["seen"]), int(described["dimensions"]))

    def build_data(self) -> TrainingData:
        """Open the training images.

        Raises:
            InputError: The settings do not fit the data or each other.
            DatasetError: The copy of the data is incomplete or contradicts itself.
        """
        data, seed = self.data, self.run.seed
        if self.teacher.name in SCENE_TEACHERS and (data.dataset != SCENES or data.crop is not None):
            raise InputError(
                doing="setting up CLIP-to-Seg",
                found=f"the teacher {self.teacher.name!r} with data.dataset = {data.dataset}"
                + (" and random crops" if data.crop is not None else ""),
                expected="whole synthetic scenes: it knows nothing else",
                fix="Give another teacher, such as --teacher.name mini.",
            )
        if self.method.masks == "oracle" and not data.truth:
            raise InputError(
                doing="setting up CLIP-to-Seg",
                found="method.masks = oracle without the truth",
                expected="data.truth = True",
                fix="Give --data.truth; the data are then not zero-shot any more.",
            )
        data.scored_images()  # what is missing there shows now, not when the training is over
        return distillation_data(
            data.masked_labels(seed),
            data.pieces(),
            open_features(self.teacher, data.training_images(seed), data.scenes),
            batch_size=self.run.batch_size,
            seed=seed,
            truth=data.truth,
            facts={
                "teacher": self.teacher.name,
                "masks": data.masks,
                "regime": "transductive" if self.method.transductive else "inductive",
            },
        )

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Segment the images to score: mean IoU of seen and unseen classes from one matrix, and their harmonic mean.

        Left out is what nothing defines, such as the score of unseen classes where no class is.
        """
        assert isinstance(model, ClipToSeg)
        images = self.data.scored_images()
        if images is None:
            return {}
        scores = evaluate(model, images, tiles="off").scores
        found = {
            "harmonic_iou": scores.harmonic_iou,
            "unseen_mean_iou": scores.unseen_mean_iou,
            "seen_mean_iou": scores.seen_mean_iou,
            "mean_iou": scores.mean_iou,
        }
        return {
            name: float(value) for name, value in found.items() if value is not None and not math.isnan(value)
        }

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names of the classes with masks, and of the others."""
        if self.data.masks == "none" and self.data.pseudo_masks is None:
            return (), ()
        vocabulary = self.data.vocabulary()
        if self.data.masks == "all" or self.data.pseudo_masks is not None or vocabulary.seen is None:
            return vocabulary.names, ()
        seen = tuple(name for label, name in enumerate(vocabulary.names) if label in vocabulary.seen)
        return seen, tuple(
            name for label, name in enumerate(vocabulary.names) if label not in vocabulary.seen
        )

    def _built(self, backbone: PyramidBackbone, seen: tuple[str, ...], dimensions: int) -> ClipToSeg:
        return ClipToSeg(
            DenseStudent(backbone, dimensions, self.student),
            partial(open_text_space, self.teacher, self.data.scenes),
            seen,
            method=self.method,
            settings=InferenceSettings(
                short_side=self.short_side,
                max_long_side=self.max_long_side,
                prompts=self.teacher.prompts,
                refine="none",
            ),
        )


def tiny() -> ClipToSegRecipe:
    """Teach a tiny student on a few synthetic scenes in seconds: to see that everything runs."""
    recipe = scenes()
    return replace(
        recipe,
        data=replace(recipe.data, num_scenes=64, num_scored_scenes=8),
        method=replace(recipe.method, decoder_width=32, decoder_heads=4),
        student=replace(recipe.student, width=32),
        run=RunSettings(num_steps=20, batch_size=8, log_every=5),
    )


def scenes() -> ClipToSegRecipe:
    """Teach a small student on synthetic scenes by a made-up teacher: 12 classes, 3 of them without masks."""
    return ClipToSegRecipe(
        data=ZeroShotSource(num_scenes=2000, num_scored_scenes=100),
        # Two of the classes without masks are much like one with masks each.
        teacher=TeacherSettings(
            scenes=SceneTeacherSettings(confusions=(("ring", "heart", 0.5), ("water", "grass", 0.5)))
        ),
        method=ClipToSegSettings(local="pooled", decoder_width=64),
        student=StudentSettings(width=64, head_lr_factor=1.0),
        backbone=TINY_BACKBONE,
        short_side=64,
        optim=OptimSettings(lr=1e-3, weight_decay=0.01, schedule="poly", poly_power=1.0, clip_norm=1.0),
        run=RunSettings(num_steps=1000, batch_size=8),
    )


def clothing() -> ClipToSegRecipe:
    """Teach on photographs of dressed people by mini: masks for most garments, only names for five of them.

    ``data.path`` is to be given: the folder of Clothing Co-Parsing in our own layout. The division is that of
    ``simformer/clothing``, whose tags are not looked at here.
    """
    return ClipToSegRecipe(
        data=ZeroShotSource(dataset=CLOTHING, size=192),
        teacher=TeacherSettings(name="mini", dimensions=128),
        # Its dense features are of 12×12 at most here.
        method=ClipToSegSettings(local="pooled", decoder_width=128, windows=(2, 4)),
        student=StudentSettings(width=128),
        backbone=EFFICIENTNET,
        short_side=128,
        max_long_side=192,
        optim=_optim(1e-4, warmup_steps=100, num_steps=2000),
        run=RunSettings(num_steps=2000, batch_size=8),
    )


def folder() -> ClipToSegRecipe:
    """Teach on your own folder by mini: labels/ for the classes in seen.txt, or no masks at all."""
    return ClipToSegRecipe(
        data=ZeroShotSource(dataset=FOLDER, unseen_masks="refuse", size=320),
        teacher=TeacherSettings(name="mini", dimensions=256),
        method=ClipToSegSettings(local="pooled", decoder_width=256),
        student=StudentSettings(width=128),
        backbone=EFFICIENTNET,
        short_side=320,
        max_long_side=640,
        optim=_optim(1e-4, warmup_steps=100, num_steps=4000),
        run=RunSettings(num_steps=4000, batch_size=8),
    )


def voc() -> ClipToSegRecipe:
    """Teach on PASCAL VOC, 15 classes with masks and 5 without, as the paper does; give --data.path."""
    recipe = _published("voc20", "zero-shot-voc", num_steps=20_000)
    return replace(recipe, data=replace(recipe.data, train_split="trainaug"))


def context() -> ClipToSegRecipe:
    """Teach on PASCAL Context, 50 classes with masks and 10 without, as the paper does; give --data.path."""
    return _published("context60", "zero-shot-context", num_steps=40_000)


def coco_stuff() -> ClipToSegRecipe:
    """Teach on COCO-Stuff, 156 classes with masks and 15 without, as the paper does; give --data.path."""
    return _published("coco-stuff164k", "zero-shot-coco-stuff", num_steps=80_000, gamma=1.0)


def _published(dataset: str, class_split: str, *, num_steps: int, gamma: float = 0.0) -> ClipToSegRecipe:
    """Return the supplement's settings; what it leaves to a toolbox's defaults is that toolbox's."""
    return ClipToSegRecipe(
        data=ZeroShotSource(
            dataset=dataset,
            class_split=class_split,
            size=512,
            crop=LabelledCropSettings(size=512, min_scale=0.5, max_scale=2.0, scale_step=None),
        ),
        teacher=TeacherSettings(name=CLIP_B16),
        method=ClipToSegSettings(gamma=gamma),
        optim=_optim(6e-5, warmup_steps=1500, num_steps=num_steps),
        run=RunSettings(num_steps=num_steps, batch_size=16, evaluate_every=num_steps // 5),
    )


def _optim(lr: float, *, warmup_steps: int, num_steps: int) -> OptimSettings:
    return OptimSettings(
        lr=lr,
        weight_decay=0.01,
        schedule="poly",
        poly_power=1.0,
        warmup_fraction=warmup_steps / num_steps,
        warmup_start=1e-6,
        warmup_multiplies=True,
    )
