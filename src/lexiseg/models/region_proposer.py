"""Propose regions without SAM: superpixels, merged where colour and the image encoder agree.

The image is cut into compact superpixels (SLIC, Achanta et al., TPAMI 2012, as scikit-image has it)
on a reduced copy. Each carries its mean colour (CIE Lab) and its share of the image encoder's own
tokens; neighbours that look alike join, the most alike first (``ops.region_merging``). The result
covers the image once, so that mask fusing leaves it alone.

Not part of RIM's paper, which proposes with SAM: it is there so that the method runs without SAM's
weights. The defaults were chosen on the photographs of coco-free with the image encoder of ``mini``, by the
best mean IoU that any labelling of the regions can reach: 66 % at 46 regions an image, 62 % at as many
with colour alone (``benchmarks/accuracy/regions.py``).
"""

import importlib.util
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, Int32, UInt8
from torch.nn.functional import interpolate, normalize

from lexiseg.core.errors import MissingPackageError
from lexiseg.core.interfaces import ImageEncoder, MaskProposer
from lexiseg.core.masks import Masks
from lexiseg.ops.region_merging import merge_regions


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """How finely an image is cut.

    Attributes:
        working_pixels: Size of the reduced copy that is cut.
        superpixels: About so many to begin with.
        compactness: SLIC's: higher gives squarer superpixels, lower ones that follow colour.
        short_side: The image encoder sees the image with about this short side.
        feature_weight: Weight of the encoder's squared distance (0 to 4 between unit vectors) against colour's,
            which is in units of 25 Lab steps. 0 leaves the encoder out.
        max_distance: Neighbours that differ by more stay apart.
        balance: Weight of small regions, see ``ops.region_merging``.
        min_share: Regions below this share of the image join a neighbour.
        max_regions: At most so many.
    """

    working_pixels: int = 320 * 240
    superpixels: int = 300
    compactness: float = 20.0
    short_side: int = 448
    feature_weight: float = 0.5
    max_distance: float = 1.5
    balance: float = 1.0
    min_share: float = 0.002
    max_regions: int = 64


#: For DINOv2's tokens, which tell objects apart better than those of ``mini``: they count for more, and
#: neighbours may differ by more. About as many regions as the defaults; chosen on coco-free like these.
DINOV2_REGIONS = RegionSettings(feature_weight=2.0, max_distance=2.0)


class RegionProposer(MaskProposer):
    """Cut an image into regions of like colour and like features; every pixel is in exactly one.

    Args:
        encoder: Its tokens are compared by angle; None compares colour alone.
        settings: How finely.
    """

    def __init__(self, encoder: ImageEncoder | None, settings: RegionSettings | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings or RegionSettings()

    def propose(self, image: UInt8[np.ndarray, "H W 3"]) -> Masks:
        """Cut one RGB image; most of the time goes to the encoder and the superpixels."""
        labels = self.label_regions(image)
        return Masks(masks=labels[None] == np.arange(labels.max() + 1, dtype=np.int32)[:, None, None])

    def label_regions(self, image: UInt8[np.ndarray, "H W 3"]) -> Int32[np.ndarray, "H W"]:
        """Cut one RGB image into regions numbered from zero.

        Raises:
            MissingPackageError: scikit-image is not installed.
        """
        settings = self.settings
        pixels = torch.from_numpy(np.ascontiguousarray(image)).float() / 255
        pixels = rearrange(pixels, "h w c -> 1 c h w")
        height, width = image.shape[:2]
        ratio = min(1.0, (settings.working_pixels / (height * width)) ** 0.5)
        size = max(1, round(height * ratio)), max(1, round(width * ratio))
        small = interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
        superpixels, lab = _superpixels(rearrange(small, "1 c h w -> h w c").numpy(), settings)
        maps = [torch.from_numpy(lab) / 25]
        if self.encoder is not None and settings.feature_weight > 0:
            maps.append(settings.feature_weight**0.5 * self._token_map(pixels, size))
        features = _region_means(torch.cat(maps, dim=2).numpy(), superpixels)
        merged = merge_regions(
            superpixels,
            features,
            max_distance=settings.max_distance,
            min_area=round(settings.min_share * size[0] * size[1]),
            balance=settings.balance,
            max_regions=settings.max_regions,
        )
        rows = np.minimum((np.arange(height) + 0.5) * size[0] / height, size[0] - 1).astype(np.int64)
        columns = np.minimum((np.arange(width) + 0.5) * size[1] / width, size[1] - 1).astype(np.int64)
        return merged[rows[:, None], columns[None]]

    @torch.inference_mode()
    def _token_map(self, pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        assert self.encoder is not None
        stride = self.encoder.stride
        place = next((value.device for value in self.encoder.parameters()), pixels.device)
        scale = self.settings.short_side / min(pixels.shape[2:])
        longest = 3 * self.settings.short_side
        seen = [max(stride, round(min(side * scale, longest) / stride) * stride) for side in pixels.shape[2:]]
        resized = interpolate(pixels, size=seen, mode="bilinear", antialias=True, align_corners=False)
        tokens = normalize(self.encoder(resized.to(place)).as_map(), dim=1)
        resized = interpolate(tokens, size=size, mode="bilinear", align_corners=False)
        return rearrange(resized, "1 d h w -> h w d").cpu()


def _superpixels(
    image: Float32[np.ndarray, "H W 3"], settings: RegionSettings
) -> tuple[Int32[np.ndarray, "H W"], Float32[np.ndarray, "H W 3"]]:
    """Cut RGB in [0, 1] into superpixels numbered from zero; return its Lab colours too."""
    if importlib.util.find_spec("skimage") is None:
        raise MissingPackageError.of("scikit-image", doing="cutting an image into superpixels", extra="rim")
    from skimage import color, segmentation  # half a second to import

    lab = color.rgb2lab(image).astype(np.float32)
    found = segmentation.slic(
        image,
        n_segments=settings.superpixels,
        compactness=settings.compactness,
        convert2lab=True,
        start_label=0,
        enforce_connectivity=True,
    )
    _, numbers = np.unique(found, return_inverse=True)
    return numbers.reshape(found.shape).astype(np.int32), lab


def _region_means(
    maps: Float32[np.ndarray, "H W D"], regions: Int32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "R D"]:
    flat = torch.from_numpy(regions.reshape(-1)).long()
    totals = torch.zeros(int(flat.max()) + 1, maps.shape[2])
    totals.index_add_(0, flat, torch.from_numpy(maps.reshape(-1, maps.shape[2])))
    return (totals / torch.bincount(flat)[:, None]).numpy()
