"""SimFormerSettings: every choice between a batch and its loss."""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.losses.complementary import GATE

#: A weight beyond this leaves nothing of the others in single precision.
_WEIGHT = Range(least=0, most=1e6)
_RANGES = {
    "num_points": Range(least=1),
    "classification": _WEIGHT,
    "focal": _WEIGHT,
    "dice": _WEIGHT,
    "no_object": _WEIGHT,
    "complementary": _WEIGHT,
    "similarity": _WEIGHT,
    "distillation": _WEIGHT,
    "multiple_instance": _WEIGHT,
    "matching_classification": _WEIGHT,
    "gate": Range(least=-1e6, most=1e6),
    "backbone_lr_factor": Range(least=0, most=1e6),
}


@dataclass(frozen=True, kw_only=True)
class SimFormerSettings:
    """What is learnt from masks, tags and pairs of pixels. Defaults: the recommended reading of the paper.

    Attributes:
        pairs: Source of pixel pairs: two images (``cross``, the full model), one image (``self``), or none
            (``none``, the paper's Basic).
        num_points: Number of pixels drawn per image; the number of pairs is its square.
        student_within_image: Compare the teacher's similarities across two images with the student's within
            the first one, as the release does; False compares the same pairs, as the paper's text says.
        form: Form of the distillation loss: ``cce`` (clipped cross-entropy) or ``ce``; see
            ``losses.similarity_transfer``.
        student: What the student compares of pixels: their scores for ``unseen`` classes or for ``all``, or the
            ``logits`` of all proposals' masks, weighted by the probability of the unseen classes, before they
            are squashed (the release's further variant).
        keeps_diagonal: In ``self`` pairs, keep the pairs of a pixel with itself.
        teacher: Teacher of the distillation: ``simnet``; ``cosine``, of the pixel embeddings themselves with the
            mean of the compared pixels taken off, which learns nothing; for ablations ``shuffled`` (SimNet's
            answers in random order) or ``oracle`` (the true label maps).
        unlabelled_differ: Train SimNet with pairs of a labelled and an unlabelled pixel as negatives, as the
            release does. Pixels of unseen classes are then never positives.
        detached: Stop the gradient of SimNet's loss at the pixel embeddings.
        gate: Logit of the complementary loss's gate; None has no gate.
        gate_learnable: Train the logit of the gate.
        padding_is_negative: Count padding pixels as negatives of the complementary loss; False leaves them
            out.
        classification: Weight of the classification loss, 0 or more.
        focal: Weight of the focal loss in mask and complementary losses, 0 or more.
        dice: Weight of the dice loss in mask and complementary losses, 0 or more.
        matching_classification: Weight of the class probability where proposals are matched with targets, 0 or
            more; None matches with the weight of the loss, as published. A large one lets classes decide
            while masks are poor.
        no_object: Weight of proposals without a target in the classification loss, 0 or more.
        complementary: Weight of the complementary loss, 0 or more.
        similarity: Weight of SimNet's similarity loss, 0 or more.
        distillation: Weight of the distillation loss, 0 or more.
        multiple_instance: Weight of the multi-label loss of each class's largest probability over the proposals,
            against the classes that the image shows, 0 or more: the release's, which has weight 0 in every
            published setting.
        backbone_lr_factor: Learning rate of the backbone as a multiple of the other parameters'.
    """

    pairs: Literal["none", "self", "cross"] = "cross"
    num_points: int = 100
    student_within_image: bool = False
    form: Literal["cce", "ce"] = "cce"
    student: Literal["unseen", "all", "logits"] = "unseen"
    keeps_diagonal: bool = True
    teacher: Literal["simnet", "cosine", "shuffled", "oracle"] = "simnet"
    unlabelled_differ: bool = True
    detached: bool = True
    gate: float | None = GATE
    gate_learnable: bool = False
    padding_is_negative: bool = True
    classification: float = 1.0
    focal: float = 20.0
    dice: float = 1.0
    matching_classification: float | None = None
    no_object: float = 0.1
    complementary: float = 0.15
    similarity: float = 1.0
    distillation: float = 0.1
    multiple_instance: float = 0.0
    backbone_lr_factor: float = 0.1

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="SimFormer")
        if self.gate is None and self.gate_learnable:
            raise _unusable("gate_learnable without a gate", "a gate to learn")


def _unusable(found: str, expected: str) -> InputError:
    return InputError(
        doing="reading the settings of SimFormer",
        found=found,
        expected=expected,
        fix="Correct it, or leave it out for the recommended value.",
    )
