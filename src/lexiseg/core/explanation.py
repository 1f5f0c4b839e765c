"""Explanation: why one pixel has its label, as numbers and names that a person can check."""

import base64
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool

#: What a piece of evidence is:
#: ``word``: a name, compared with this pixel; ``template``: one sentence with the name, likewise; ``token``: a word piece;
#: ``image``: a name, compared with the image as a whole; ``segment``: the group of patches that this pixel is in;
#: ``reference``: a reference image; ``proposal``: a mask with its class; ``seen class``: a class with masks in training
#: that is like this one; ``offset``: what is taken from the score of classes with masks; ``ImageNet name``,
#: ``learnt name``: a name that a classifier, or the head learnt from masks, sees here; ``appearance``: colour, texture and
#: height; ``presence``: whether the name is in the image at all; ``instance``: one object of that name.
EvidenceKind: TypeAlias = Literal[
    "word",
    "template",
    "token",
    "image",
    "segment",
    "reference",
    "proposal",
    "seen class",
    "offset",
    "ImageNet name",
    "learnt name",
    "appearance",
    "presence",
    "instance",
]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One thing that spoke for a class at a pixel.

    Attributes:
        kind: What it is.
        name: Which one: a name, a sentence, a file, a number.
        supports: The class it speaks for.
        value: How strongly, in units of ``measure``.
        measure: What the value is.
        image: A small JPEG file of it; None where it is no image.
    """

    kind: EvidenceKind
    name: str
    supports: str
    value: float
    measure: str
    image: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class RankedClass:
    """A class that competed for a pixel, and the value it was judged by."""

    name: str
    value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Why a pixel has its label.

    Attributes:
        point: The pixel, ``(x, y)`` from the upper left corner of the image at its own size.
        label: Its class, as in the label map.
        score: Its value in the score map, on the model's own scale.
        measure: What the classes were judged by here.
        lower_wins: Whether the smallest value wins, not the largest.
        ranking: Classes that competed here, the best first.
        runner_up: The best of those that the pixel was not given; None where nothing else competed.
        margin: By how much its class is ahead of the runner-up, in units of ``measure``; negative where borders were moved
            along edges of the image and this pixel alone would be the runner-up's; None without a runner-up.
        evidence: What spoke for the two, the class of the pixel first.
        notes: What else must be known, in sentences.
        region: Pixels that were decided together with this one; None where each is decided alone.
        model: Name of the model.
    """

    point: tuple[int, int]
    label: str
    score: float
    measure: str
    lower_wins: bool
    ranking: tuple[RankedClass, ...]
    runner_up: str | None
    margin: float | None
    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...]
    model: str
    region: Bool[np.ndarray, "H W"] | None = field(default=None, repr=False)

    def verdict(self) -> str:
        """Say in a sentence or two what the pixel is called and by how much."""
        if self.runner_up is None or self.margin is None:
            return f"{self.label}. No other class competed here."
        if self.margin < 0:
            return f"{self.label}, though {self.runner_up} is ahead by {-self.margin:.3g} of {self.measure} here."
        return f"{self.label}, ahead of {self.runner_up} by {self.margin:.3g} of {self.measure}."

    def to_json(self, *, images: bool = False) -> dict[str, Any]:
        """Return everything but the region as plain values.

        Args:
            images: With the images of the evidence, as base64 of JPEG files.
        """
        return {
            "point": list(self.point),
            "label": self.label,
            "score": self.score,
            "measure": self.measure,
            "lower_wins": self.lower_wins,
            "runner_up": self.runner_up,
            "margin": self.margin,
            "verdict": self.verdict(),
            "ranking": [{"name": each.name, "value": each.value} for each in self.ranking],
            "evidence": [
                {
                    "kind": each.kind,
                    "name": each.name,
                    "supports": each.supports,
                    "value": each.value,
                    "measure": each.measure,
                    **(
                        {"image": base64.b64encode(each.image).decode()}
                        if images and each.image is not None
                        else {}
                    ),
                }
                for each in self.evidence
            ],
            "notes": list(self.notes),
            "model": self.model,
        }
