"""Choices of ConSE."""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import Range, check_ranges

_RANGES = {
    "sizes": Range(least=0, above=True),
    "image_weight": Range(least=0),
    "temperature": Range(least=0, above=True),
    "num_names": Range(least=1),
    "min_similarity": Range(least=-1, most=0.99),
    "min_scene_similarity": Range(least=-1, most=0.99),
    "scene_weight": Range(least=0, most=1),
    "person_weight": Range(least=0),
    "head_weight": Range(least=0),
    "min_head_similarity": Range(least=-1, most=0.99),
    "head_thing_share": Range(least=0, most=1),
    "head_background": Range(least=0, most=1),
    "smooth_temperature": Range(least=0, above=True),
    "stride": Range(least=1),
}


@dataclass(frozen=True, kw_only=True)
class ConSESettings:
    """How images are read and words are matched.

    Attributes:
        sizes: The image is read at these multiples of its given size; logits are averaged.
        image_weight: Weight of the image's mean logits beside a patch's own (1).
        temperature: Divides the summed logits before the softmax.
        num_names: The most probable names a patch keeps, renormalised; 1000 keeps all.
        use_kinds: Compare words with the kinds of names too ("cat" for "Egyptian Mau").
        min_similarity: A name matches a word from this cosine on; 1 is a full match.
        min_scene_similarity: Smallest cosine at which the names of stuff and "person" match a word.
        scene_weight: Share of the classifier's doubt that colour, texture and height may fill, 0..1.
        person_weight: Weight of names that are shown with people, for words like "person".
        stride: Pixels per patch of the grid; the network's own grid is interpolated to it.
        head: Whether names that were seen with masks take part, or none: ImageNet's names and the priors alone.
        head_weight: Weight of the head's posterior beside the scores that the words had without it.
        min_head_similarity: Smallest cosine at which a word means a name of the head.
        head_thing_share: Share of what the head sees of things that it shares among them itself; the rest goes to the
            words for things by the scores that they had.
        head_background: How well "background" matches the head's names of stuff, where no other word matches better.
        smooth: Whether each patch's evidence is averaged over the patches that dinov2-small finds alike: auto does so where
            dinov2-small is on this machine; dinov2 insists on it; none does not. Results record which.
        smooth_temperature: Divides the cosines of its tokens before the softmax.
    """

    sizes: tuple[float, ...] = (1.0, 9 / 14)
    image_weight: float = 1.5
    temperature: float = 1.5
    num_names: int = 1000
    use_kinds: bool = True
    min_similarity: float = 0.4
    min_scene_similarity: float = 0.6
    scene_weight: float = 1.0
    person_weight: float = 1.0
    stride: int = 16
    head: Literal["masks", "none"] = "masks"
    head_weight: float = 2.0
    min_head_similarity: float = 0.75
    head_thing_share: float = 0.5
    head_background: float = 0.15
    smooth: Literal["auto", "dinov2", "none"] = "auto"
    smooth_temperature: float = 0.1

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="ConSE")
        if not self.sizes:
            raise InputError(
                doing="reading the settings of ConSE",
                found="no sizes",
                expected="one multiple of the image's size, or more",
                fix="Give sizes=1.0, or leave it out.",
            )


#: The recipe without any of our additions, as the measure of what they bring.
PLAIN = ConSESettings(
    sizes=(1.0,),
    image_weight=1.0,
    temperature=1.0,
    num_names=10,
    use_kinds=False,
    min_similarity=-1.0,
    scene_weight=0.0,
    person_weight=0.0,
    stride=32,
    head="none",
    smooth="none",
)
