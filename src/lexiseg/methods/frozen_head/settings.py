"""Settings of the linear head on frozen features."""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.setting_ranges import Range, check_ranges

#: Without what mini says, which tag a patch is of shows only when patches of many images are compared.
_ROUNDS_WITHOUT_PRIOR = 4
_RANGES = {
    "short_side": Range(least=32, most=4096),
    "max_long_side": Range(least=32, most=16_384),
    "penalty": Range(least=0, most=1e9, above=True),
    "balance": Range(least=0, most=1),
    "rounds": Range(least=0, most=20),
    "least_share": Range(least=0, most=0.5),
    "prior_weight": Range(least=0, most=100),
    "kept_prior": Range(least=0, most=100),
    "smoothing": Range(least=0, most=10),
}


@dataclass(frozen=True, kw_only=True)
class FrozenHeadSettings:
    """How images are described and the head is fitted.

    Attributes:
        backbone: Frozen image encoder: ``efficientnet-lite0``, ``dinov2-small``, ``tiny`` (random numbers, for
            trials), or the hub id or folder of a DINOv2.
        prior: What the head knows before it is fitted: what ``mini`` says of the names, or ``none``.
        prior_weight: Factor of mini's probabilities in the scores that the head begins with.
        kept_prior: Factor of mini's probabilities that are added to what was fitted where no masks were learnt from.
        smoothing: Temperature at which scores are averaged over the patches that a DINOv2 finds alike; 0 for none. Other
            backbones do not smooth.
        short_side: Short side that an image is resized to, in pixels.
        max_long_side: Largest long side, in pixels.
        penalty: Of the ridge regression: how many patches it takes to say something new.
        balance: Power of a class's share by which its patches count less: 0 counts patches alike, 1 classes.
        rounds: How often patches of images with tags are shared out anew among the tags; None for as often as it helps:
            never beside a prior, a few times without one, where every tag first gets the same share.
        least_share: Share of an image's patches that each of its tags gets at least.
    """

    backbone: str = "efficientnet-lite0"
    prior: Literal["mini", "none"] = "mini"
    prior_weight: float = 0.35
    kept_prior: float = 1.0
    smoothing: float = 0.05
    short_side: int = 448
    max_long_side: int = 1344
    penalty: float = 1000.0
    balance: float = 0.25
    rounds: int | None = None
    least_share: float = 0.05

    @property
    def num_rounds(self) -> int:
        """How often patches are shared out anew."""
        if self.rounds is not None:
            return self.rounds
        return _ROUNDS_WITHOUT_PRIOR if self.prior == "none" else 0

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the head on frozen features")
