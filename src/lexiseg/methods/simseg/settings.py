"""SimSegSettings: how tokens become one vector, and how scores become masks."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import COUNT, WIDTH, Range, check_ranges

Pooling = Literal["topk", "mean", "cls"]
Padding = Literal["plain", "masked"]


@dataclass(frozen=True, kw_only=True)
class PoolingSettings:
    """From the tokens of an image or a sentence to one vector.

    Attributes:
        pooling: Pooling: ``topk`` averages the largest values of every channel (LoDA), ``mean`` averages all
            tokens, ``cls`` takes the CLS token, as CLIP does.
        image_topk: Number of largest values per channel that are averaged for an image with ``topk``, 1 or
            more.
        text_topk: Number of largest values per channel that are averaged for a sentence with ``topk``, 1 or
            more.
        padding: Role of padding tokens in ``topk``: ``plain`` lets them compete like any token, ``masked``
            leaves them out.
    """

    pooling: Pooling = "topk"
    image_topk: int = 5
    text_topk: int = 5
    padding: Padding = "plain"

    def __post_init__(self) -> None:
        for name in ("image_topk", "text_topk"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not COUNT.holds(value):
                raise _unusable(name, value, "a whole number above 0")


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """From class scores to masks.

    Attributes:
        map: Map of a class that its mask is cut from: ``similarity`` with the word; ``contrasted`` (ours, not the
            paper's) takes the mean of all words of the vocabulary from each word first; ``negated`` and ``saliency``
            (difference from the image's rim, the same for all words) are floors to measure the others by.
        threshold_top_k: Number of largest class scores that the threshold is computed from, 2 or more (paper:
            10 for 20 or 80 classes, 30 for 59).
        num_std: Number of standard deviations by which the threshold is above the mean of these scores.
        max_classes: Largest number of classes in an image, background included, 1 or more.
        closing: Side of the square structuring element that masks are closed with, odd, in pixels.
        dilations: Number of dilations with it, 0 or more.
        erosions: Number of erosions after them, 0 or more.
    """

    map: Literal["similarity", "contrasted", "negated", "saliency"] = "similarity"
    threshold_top_k: int = 10
    num_std: float = 1.0
    max_classes: int = 5
    closing: int = 7
    dilations: int = 1
    erosions: int = 1

    def __post_init__(self) -> None:
        check_ranges(self, {"num_std": Range(least=-1000, most=1000)}, method="SimSeg's masks")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            most = _MOST.get(name, 10**9)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise _unusable(name, value, f"a whole number from {least} to {most:,}")
        if self.closing % 2 == 0:
            raise _unusable("closing", self.closing, "an odd number of pixels")


#: More changes nothing, but takes for ever.
_MOST = {"closing": 1025, "dilations": 1000, "erosions": 1000}
_LEAST = {"threshold_top_k": 2, "max_classes": 1, "closing": 1, "dilations": 0, "erosions": 0}


_TEMPERATURE = Range(least=0, most=1000, above=True)
_RANGES = {
    "embedding_dim": WIDTH,
    **dict.fromkeys(("initial_temperature", "lowest_temperature", "highest_temperature"), _TEMPERATURE),
}


@dataclass(frozen=True, kw_only=True)
class SimSegSettings:
    """What makes SimSeg SimSeg, beside the shapes of its two encoders.

    Attributes:
        embedding_dim: Dimension of the shared embedding space.
        training: Pooling in training.
        testing: Pooling at inference: by default top-1 for sentences, without padding tokens.
        initial_temperature: Initial temperature of the contrastive loss, which is learned.
        lowest_temperature: Lower bound that the temperature is clamped to, above 0.
        highest_temperature: Upper bound that the temperature is clamped to.
        masks: Settings of the step from class scores to masks.
    """

    CHANGEABLE_AFTER_TRAINING: ClassVar[tuple[str, ...]] = ("testing", "masks")

    embedding_dim: int = 512
    training: PoolingSettings = field(default_factory=PoolingSettings)
    testing: PoolingSettings = field(default_factory=lambda: PoolingSettings(text_topk=1, padding="masked"))
    initial_temperature: float = 0.07
    lowest_temperature: float = 0.001
    highest_temperature: float = 0.5
    masks: MaskSettings = field(default_factory=MaskSettings)

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="SimSeg")
        if not self.lowest_temperature <= self.initial_temperature <= self.highest_temperature:
            found = f"{self.lowest_temperature:g} to {self.highest_temperature:g}"
            raise _unusable(
                "lowest_temperature to highest_temperature", found, "a range that holds initial_temperature"
            )


def _unusable(name: str, value: object, expected: str) -> InputError:
    return InputError(
        doing="reading the settings of SimSeg",
        found=f"{name} = {value!r}",
        expected=expected,
        fix="Correct it, or leave it out for the paper's value.",
    )
