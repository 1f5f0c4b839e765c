"""Build one class of a bank: its settings, its key by content, its images' features and thumbnails."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.methods.rim.references.bank import ClassReferences
from lexiseg.methods.rim.references.bank_checks import MAX_SUBCATEGORIES
from lexiseg.methods.rim.references.sources import (
    Drawn,
    ReferenceImage,
    ReferenceSource,
    RejectedImage,
)
from lexiseg.ops.region_pooling import pool_regions
from lexiseg.ops.spherical_kmeans import Clusters, spherical_kmeans

THUMBNAIL_SIDE = 56
_THUMBNAIL_QUALITY = 70


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How images of a class become its references.

    Attributes:
        images: Images a class; 50 is stated in the paper.
        subcategories: References a class, by k-means over its images; fewer where it has fewer images.
        short_side: Short side of what the image encoder sees.
        seed: Seed of k-means.
    """

    images: int = 50
    subcategories: int = 5
    short_side: int = 518
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("images", None), ("subcategories", MAX_SUBCATEGORIES), ("short_side", None)):
            value = getattr(self, name)
            if value < 1 or (most is not None and value > most):
                raise InputError(
                    doing="reading the settings of a reference bank",
                    found=f"{name} = {value}",
                    expected="a positive number" + (f", {most} at most" if most else ""),
                    fix="Correct it, or leave it out.",
                )


def content_key(
    name: str,
    source: ReferenceSource,
    encoder: Mapping[str, Any],
    settings: BuildSettings,
    synonyms: Sequence[str] = (),
) -> str:
    """Hash everything that decides the references of a class; where the encoder's files lie does not."""
    what = [name, source.name, dict(source.facts()), source.content(name, settings.images)]
    what += [[further, source.content(further, settings.images)] for further in synonyms]
    seen = [encoder["fingerprint"], encoder["short_side"]]
    text = json.dumps([*what, seen, asdict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@torch.inference_mode()
def build_class(
    name: str,
    key: str,
    source: ReferenceSource,
    encoder: ImageEncoder,
    settings: BuildSettings,
    synonyms: Sequence[str] = (),
) -> ClassReferences | dict[str, Any]:
    """Encode the images of one class; return only the facts where every image is rejected."""
    features: list[Tensor] = []
    outside, thumbnails, origins = [], [], []
    masks = {"given": 0, "found": 0}
    reasons: Counter[str] = Counter()
    damaged: dict[str, str] = {}
    for drawn in _draw_by_names([name, *synonyms], source, settings.images):
        if isinstance(drawn, RejectedImage):
            reasons[drawn.reason] += 1
            if drawn.is_damaged:
                damaged[drawn.origin] = drawn.reason
            continue
        inside, around = pool_image(drawn, encoder, settings.short_side)
        features.append(inside)
        if around is not None:
            outside.append(around)
        thumbnails.append(_thumbnail(drawn))
        origins.append(drawn.origin)
        masks["given" if drawn.mask_is_given else "found"] += 1
    facts: dict[str, Any] = {
        "source": source.name,
        **source.facts(),
        "drawn": len(features) + reasons.total(),
        "rejected": dict(reasons),
        "damaged": damaged,
        "masks": masks,
    }
    if not features:
        return facts
    stacked = torch.stack(features).half().float()  # as the bank keeps them: nothing is computed from more
    clustered = _cluster(stacked, settings)
    return ClassReferences(
        name=name,
        key=key,
        features=stacked,
        clusters=clustered.assignment,
        references=clustered.centroids,
        negatives=_cluster(torch.stack(outside).half().float(), settings).centroids.half().float()
        if outside
        else stacked[:0],
        thumbnails=tuple(thumbnails),
        origins=tuple(origins),
        facts=facts,
        synonyms=tuple(synonyms),
    )


def _draw_by_names(names: Sequence[str], source: ReferenceSource, count: int) -> Iterator[Drawn]:
    """Draw by one name after the other until there are enough; an image that goes by two of them counts once."""
    usable = 0
    met: set[str] = set()
    for name in names:
        if usable == count:
            return
        for drawn in source.draw(name, count):
            if usable == count:
                return
            if drawn.origin not in met:
                met.add(drawn.origin)
                usable += isinstance(drawn, ReferenceImage)
                yield drawn


def _cluster(features: Float[Tensor, "K D"], settings: BuildSettings) -> Clusters:
    return spherical_kmeans(features, min(settings.subcategories, len(features)), seed=settings.seed)


def pool_image(
    image: ReferenceImage, encoder: ImageEncoder, short_side: int
) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"] | None]:
    """Return the unit features inside and outside the mask; None for an empty backdrop."""
    size = fitted_size(
        image.image.shape[:2],
        short_side=short_side,
        max_long_side=3 * short_side,
        multiple_of=encoder.stride,
    )
    device = next(encoder.parameters()).device
    encoded = encoder(resize_image(image.image, size)[None].to(device))
    both = pool_regions(encoded.tokens[0].cpu(), encoded.grid, np.stack([image.mask, ~image.mask]))
    inside, outside = normalize(both, dim=-1)
    return inside, outside if image.has_scene else None


def _thumbnail(photo: ReferenceImage) -> bytes:
    """Cut the object out with a margin and make a small JPEG of it, the rest paled."""
    rows, columns = np.flatnonzero(photo.mask.any(1)), np.flatnonzero(photo.mask.any(0))
    margin = max(len(rows), len(columns)) // 8
    window = (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
    pixels: UInt8[np.ndarray, "h w 3"] = photo.image[window].copy()
    pale = ~photo.mask[window]
    pixels[pale] = 128 + pixels[pale] // 2
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    held = io.BytesIO()
    image.save(held, format="JPEG", quality=_THUMBNAIL_QUALITY)
    return held.getvalue()
