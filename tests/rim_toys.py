"""RIM in a world where the right answer is known: a patch's feature is its mean colour."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, MaskProposer
from lexiseg.core.masks import Masks
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.rim.references.bank import ReferenceBank
from lexiseg.methods.rim.references.build import BuildSettings, build_bank
from lexiseg.methods.rim.references.sources import (
    Drawn,
    ReferencePicture,
    ReferenceSource,
    RejectedPicture,
)
from lexiseg.methods.rim.segmenter import RIM
from lexiseg.methods.rim.settings import RIMSettings

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 220, 30),
    "blue": (30, 30, 220),
    "grey": (128, 128, 128),
    "yellow": (220, 220, 30),
}
FACTS = {"name": "colours", "fingerprint": "c0ffee"}
SETTINGS = BuildSettings(pictures=6, subcategories=2, short_side=16)


class ColourEncoder(ImageEncoder):
    """A token is the mean colour of 4 × 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stride = 4
        self.calls = 0
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        self.calls += 1
        means = reduce(images, "b c (h p) (w q) -> b c h w", "mean", p=4, q=4)
        grid = (means.shape[2], means.shape[3])
        return PatchFeatures(tokens=rearrange(means, "b c h w -> b (h w) c"), grid=grid, stride=4)


class ColourSource(ReferenceSource):
    """Noisy pictures of a colour in the middle of white; words that are no colour are rejected."""

    name = "colours"

    def __init__(self, *, has_scene: bool = False) -> None:
        self.has_scene = has_scene
        self.asked: list[str] = []

    def facts(self) -> Mapping[str, Any]:
        return {"noise": 20}

    def content(self, class_name: str, count: int) -> str:
        return f"{class_name} {count}"

    def draw(self, class_name: str, count: int) -> Iterator[Drawn]:
        self.asked.append(class_name)
        if class_name not in COLOURS:
            yield RejectedPicture(origin="seed 0", reason="a black picture")
            return
        random = np.random.default_rng(sum(map(ord, class_name)))
        mask = np.zeros((16, 16), bool)
        mask[4:12, 4:12] = True
        for index in range(count):
            image = np.full((16, 16, 3), 255, np.uint8)
            noisy = random.normal(COLOURS[class_name], 10, (8, 8, 3))
            image[4:12, 4:12] = noisy.clip(0, 255)
            yield ReferencePicture(image=image, mask=mask, origin=f"seed {index}", has_scene=self.has_scene)


class GivenMasks(MaskProposer):
    """Propose what it was told to."""

    def __init__(self, masks: np.ndarray | None = None) -> None:
        super().__init__()
        self.masks = masks

    def propose(self, image: UInt8[np.ndarray, "H W 3"]) -> Masks:
        masks = self.masks if self.masks is not None else np.zeros((0, *image.shape[:2]), bool)
        return Masks(masks=masks)


def colour_bank(path: Path, words: list[str], **source: bool) -> ReferenceBank:
    build_bank(words, ColourSource(**source), ColourEncoder(), path, encoder_facts=FACTS, settings=SETTINGS)
    return ReferenceBank(path)


def colour_rim(
    bank: ReferenceBank, masks: np.ndarray | None, fingerprint: str = "c0ffee", **method: Any
) -> RIM:
    return RIM(
        bank,
        ColourEncoder(),
        GivenMasks(masks),
        encoder_fingerprint=fingerprint,
        proposer_facts={"name": "given"},
        settings=InferenceSettings(short_side=16, refine="none"),
        method=RIMSettings(**method),
    ).eval()


def quadrants(size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Give a picture of four colours and their four masks."""
    half = size // 2
    image = np.zeros((size, size, 3), np.uint8)
    masks = np.zeros((4, size, size), bool)
    places = [(0, 0), (0, half), (half, 0), (half, half)]
    for mask, (top, left), name in zip(masks, places, ["red", "green", "blue", "grey"], strict=True):
        mask[top : top + half, left : left + half] = True
        image[mask] = COLOURS[name]
    return image, masks
