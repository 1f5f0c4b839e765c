"""SimFormerSettings: every choice between a batch and its loss."""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.errors import InputError
from lexiseg.losses.complementary import GATE


@dataclass(frozen=True, kw_only=True)
class SimFormerSettings:
    """What is learnt from masks, tags and pairs of pixels. Defaults: the recommended reading of the paper.

    Attributes:
        pairs: Where pairs of pixels come from: two images (``cross``, the full model), one (``self``),
            or there are none (``none``, the paper's Basic).
        num_points: Pixels drawn in an image; pairs are their square.
        student_within_image: Compare what the teacher says of pixels of two images with the scores of pixels of one,
            as the release does, against the paper's text.
        form: Of the distillation loss: ``cce`` or ``ce``, see ``losses.similarity_transfer``.
        student: Scores that pixels are compared by: of the ``unseen`` classes, or of ``all``.
        keeps_diagonal: In ``self`` pairs, let a pixel be compared with itself.
        teacher: ``simnet``. For ablations: ``shuffled``, its answers in random order; ``oracle``, the truth.
        unlabelled_differ: SimNet learns also that a pixel with a mask and one without show different classes, as
            the release has it. Pixels of unseen classes are then never shown to it as alike.
        detached: SimNet learns from embeddings without changing them.
        gate: Logit of the complementary loss's gate; None for none.
        gate_learnable: Train the gate.
        padding_is_negative: In the complementary loss padding is what no tag covers; otherwise it does
            not count.
        classification: Weight of the class loss.
        focal: Weight of the focal part of mask and complementary losses.
        dice: Weight of the dice part.
        no_object: Weight of proposals without a target in the class loss.
        complementary: Weight of the complementary loss.
        similarity: Weight of the loss that SimNet learns by.
        distillation: Weight of the loss that SimNet teaches by.
        backbone_lr_factor: Learning rate of the backbone, as a factor of the others'.
    """

    pairs: Literal["none", "self", "cross"] = "cross"
    num_points: int = 100
    student_within_image: bool = False
    form: Literal["cce", "ce"] = "cce"
    student: Literal["unseen", "all"] = "unseen"
    keeps_diagonal: bool = True
    teacher: Literal["simnet", "shuffled", "oracle"] = "simnet"
    unlabelled_differ: bool = True
    detached: bool = True
    gate: float | None = GATE
    gate_learnable: bool = False
    padding_is_negative: bool = True
    classification: float = 1.0
    focal: float = 20.0
    dice: float = 1.0
    no_object: float = 0.1
    complementary: float = 0.15
    similarity: float = 1.0
    distillation: float = 0.1
    backbone_lr_factor: float = 0.1

    def __post_init__(self) -> None:
        if self.num_points < 1:
            raise _unusable(f"num_points = {self.num_points}", "a whole number above 0")
        weights = (
            "classification",
            "focal",
            "dice",
            "no_object",
            "complementary",
            "similarity",
            "distillation",
        )
        for name in weights:
            if getattr(self, name) < 0:
                raise _unusable(f"{name} = {getattr(self, name)}", "a weight of 0 or more")
        if self.gate is None and self.gate_learnable:
            raise _unusable("gate_learnable without a gate", "a gate to learn")


def _unusable(found: str, expected: str) -> InputError:
    return InputError(
        doing="reading the settings of SimFormer",
        found=found,
        expected=expected,
        fix="Correct it, or leave it out for the recommended value.",
    )
