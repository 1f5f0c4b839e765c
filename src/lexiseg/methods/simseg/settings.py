"""SimSegSettings: how tokens become one vector, and how scores become masks."""

from dataclasses import dataclass, field
from typing import Literal

from lexiseg.core.errors import InputError

Pooling = Literal["topk", "mean", "cls"]
Padding = Literal["plain", "masked"]


@dataclass(frozen=True, kw_only=True)
class PoolingSettings:
    """From the tokens of an image or a sentence to one vector.

    Attributes:
        pooling: ``topk`` averages the largest values of every channel (LoDA), ``mean`` all of them, ``cls``
            takes the token at the start, as CLIP does.
        image_topk: Values averaged for an image, with ``topk``.
        text_topk: Values averaged for a sentence, with ``topk``.
        padding: ``plain`` lets what a sentence was filled up with compete like any word; ``masked`` leaves it
            out.
    """

    pooling: Pooling = "topk"
    image_topk: int = 5
    text_topk: int = 5
    padding: Padding = "plain"

    def __post_init__(self) -> None:
        for name in ("image_topk", "text_topk"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _unusable(name, value, "a whole number above 0")


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """From class scores to masks.

    Attributes:
        threshold_top_k: The threshold is taken from so many classes with the largest scores (10 for 20 or 80
            classes in the paper, 30 for 59).
        num_std: The threshold is their mean and so many standard deviations.
        max_classes: Classes of an image at most, background counted.
        closing: Side of the square that masks are closed with; odd.
        dilations: Times a mask is grown by it.
        erosions: Times it is shrunk again.
    """

    threshold_top_k: int = 10
    num_std: float = 1.0
    max_classes: int = 5
    closing: int = 7
    dilations: int = 1
    erosions: int = 1

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise _unusable(name, value, f"a whole number from {least} up")
        if self.closing % 2 == 0:
            raise _unusable("closing", self.closing, "an odd number of pixels")


_LEAST = {"threshold_top_k": 2, "max_classes": 1, "closing": 1, "dilations": 0, "erosions": 0}


@dataclass(frozen=True, kw_only=True)
class SimSegSettings:
    """What makes SimSeg SimSeg, beside the shapes of its two encoders.

    Attributes:
        embedding_dim: Length of the shared space.
        training: Pooling while training.
        testing: Pooling afterwards: one response a sentence, and fillings left out.
        initial_temperature: Of the loss; learned, and clamped to the next two.
        lowest_temperature: Lower end of its range.
        highest_temperature: Upper end.
        masks: How scores become masks.
    """

    embedding_dim: int = 512
    training: PoolingSettings = field(default_factory=PoolingSettings)
    testing: PoolingSettings = field(default_factory=lambda: PoolingSettings(text_topk=1, padding="masked"))
    initial_temperature: float = 0.07
    lowest_temperature: float = 0.001
    highest_temperature: float = 0.5
    masks: MaskSettings = field(default_factory=MaskSettings)


def _unusable(name: str, value: object, expected: str) -> InputError:
    return InputError(
        doing="reading the settings of SimSeg",
        found=f"{name} = {value!r}",
        expected=expected,
        fix="Correct it, or leave it out for the paper's value.",
    )
