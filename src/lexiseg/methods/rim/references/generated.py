"""Images from a text-to-image model; where the class's words attended, and SAM from there, is the object.

Stated in the paper: 50 images a class, 50 denoising steps, a binarised cross-attention map, Algorithm 1
for the points, SAM. Our readings: thresholds, five points, one mask a prompt, what is rejected.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from lexiseg.core.masks import Masks
from lexiseg.methods.rim.references.sources import (
    Drawn,
    ReferenceImage,
    ReferenceSource,
    RejectedImage,
    coverage_problem,
)
from lexiseg.models.stable_diffusion import GeneratedImage
from lexiseg.ops.prompt_points import binarise, points_to_pixels, prompt_points, stretch

NUM_POINTS = 5
THRESHOLD = 0.5
#: SAM's mask must overlap the binarised attention by this intersection over union.
MIN_AGREEMENT = 0.1
#: At most this many images are drawn for each one wanted.
_DRAWS_EACH = 3


@runtime_checkable
class ImageGenerator(Protocol):
    """A text-to-image model that tells where a word went."""

    def generate(self, class_name: str, seed: int) -> GeneratedImage:
        """Draw an image of a class; the same seed gives the same image."""

    def facts(self) -> Mapping[str, Any]:
        """Return model, prompt, steps, guidance and hashes, as plain values."""


@runtime_checkable
class PointSegmenter(Protocol):
    """A network that turns points into the mask of the object under them."""

    def masks_at(self, image: UInt8[np.ndarray, "H W 3"], points: Float[np.ndarray, "N 2"]) -> Masks:
        """Return one mask for all points, x and y in pixels."""


class GeneratedSource(ReferenceSource):
    """Draw images until enough show a usable object.

    The seed of an image is ``seed`` plus a number made from the class name plus its index: unlike a count
    over the vocabulary it does not change when classes are added.

    Args:
        generator: Draws images.
        segmenter: Finds the object from points.
        segmenter_facts: What it is, for the record.
        seed: Shifts all seeds.
    """

    name = "generate"

    def __init__(
        self,
        generator: ImageGenerator,
        segmenter: PointSegmenter,
        *,
        segmenter_facts: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        self.generator, self.segmenter, self.seed = generator, segmenter, seed
        self.segmenter_facts = dict(segmenter_facts)

    def facts(self) -> Mapping[str, Any]:
        """Return models, hashes, prompt, thresholds and the seed."""
        return {
            "generator": dict(self.generator.facts()),
            "segmenter": self.segmenter_facts,
            "threshold": THRESHOLD,
            "points": NUM_POINTS,
            "min_agreement": MIN_AGREEMENT,
            "seed": self.seed,
        }

    def content(self, class_name: str, count: int) -> str:
        """Hash the seeds: with ``facts`` they decide the images."""
        return hashlib.sha256(f"{self.first_seed(class_name)} {count}".encode()).hexdigest()

    def first_seed(self, class_name: str) -> int:
        """Return the seed of a class's first image; the next count up from it."""
        return self.seed + 1000 * (zlib.crc32(class_name.encode()) % 1_000_000)

    def draw(self, class_name: str, count: int) -> Iterator[Drawn]:
        """Draw, find the object, reject and draw again; at most three draws for each image wanted."""
        usable = 0
        first = self.first_seed(class_name)
        for seed in range(first, first + _DRAWS_EACH * count):
            if usable == count:
                return
            found = self._object(self.generator.generate(class_name, seed), f"seed {seed}")
            usable += isinstance(found, ReferenceImage)
            yield found

    def _object(self, drawn: GeneratedImage, origin: str) -> Drawn:
        if drawn.is_black:
            return RejectedImage(origin=origin, reason="a black image (the generator's filter)")
        cut = binarise(stretch(drawn.attention), threshold=THRESHOLD, min_pixels=NUM_POINTS)
        if cut is None:
            return RejectedImage(origin=origin, reason=f"fewer than {NUM_POINTS} places attend to the words")
        foreground, _ = cut
        points, _ = prompt_points(foreground, NUM_POINTS)
        size = (drawn.image.shape[0], drawn.image.shape[1])
        mask = self.segmenter.masks_at(
            drawn.image, points_to_pixels(points, (foreground.shape[0], foreground.shape[1]), size)
        ).masks[0]
        problem = coverage_problem(mask)
        if problem is None and _agreement(mask, foreground) < MIN_AGREEMENT:
            problem = "the mask lies elsewhere than the attention"
        if problem is not None:
            return RejectedImage(origin=origin, reason=problem)
        return ReferenceImage(image=drawn.image, mask=mask, origin=origin)


def _agreement(mask: Bool[np.ndarray, "H W"], foreground: Bool[np.ndarray, "h w"]) -> float:
    """Return the intersection over union of a mask and a coarser map."""
    size = (mask.shape[1], mask.shape[0])
    large = np.asarray(Image.fromarray(foreground).resize(size, Image.Resampling.NEAREST), bool)
    return float((mask & large).sum() / max(1, (mask | large).sum()))
