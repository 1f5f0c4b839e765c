"""GroupViTSettings: the losses of training; SegmentSettings: how segments are named afterwards."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import COUNT, FACTOR, check_ranges
from lexiseg.losses.multi_label import Positives


@dataclass(frozen=True, kw_only=True)
class SegmentSettings:
    """From segments to classes, with weights that are there.

    Attributes:
        kept_classes: An image can only have so many classes: those that it as a whole is most similar to.
        maps: ``soft`` multiplies the shares of all groupings before a pixel takes its best segment; ``hard``
            follows the choices that training makes.
    """

    kept_classes: int = 5
    maps: Literal["soft", "hard"] = "soft"

    def __post_init__(self) -> None:
        check_ranges(self, {"kept_classes": COUNT}, method="GroupViT")


@dataclass(frozen=True, kw_only=True)
class GroupViTSettings:
    """What makes GroupViT GroupViT, beside the shape of its network.

    Attributes:
        segments: How segments are named.
        word_loss: Weight of the loss that asks for single words of captions; 0 trains on captions alone.
        positives: How the words of an image are asked for: ``mean_of_logs`` all of them (the released code),
            ``log_of_sum`` any of them (the paper).
        initial_scale: First value of what similarities are multiplied by, of both losses.
        highest_scale: Its cap.
    """

    CHANGEABLE_AFTER_TRAINING: ClassVar[tuple[str, ...]] = ("segments",)

    segments: SegmentSettings = field(default_factory=SegmentSettings)
    word_loss: float = 1.0
    positives: Positives = "mean_of_logs"
    initial_scale: float = 1 / 0.07
    highest_scale: float = 100.0

    def __post_init__(self) -> None:
        check_ranges(self, {"word_loss": FACTOR, "highest_scale": FACTOR}, method="GroupViT")
        if not 0 < self.initial_scale <= self.highest_scale:
            found = f"{self.initial_scale:g} and {self.highest_scale:g}"
            expected = "numbers above 0, the first not above the second"
            raise _unusable("initial_scale and highest_scale", found, expected)


def _unusable(name: str, value: object, expected: str) -> InputError:
    return InputError(
        doing="reading the settings of GroupViT",
        found=f"{name} = {value}",
        expected=expected,
        fix="Correct it, or leave it out for the published value.",
    )
