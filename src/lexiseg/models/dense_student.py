"""DenseStudent: a plain segmenter whose last layer gives an embedding instead of class scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, ParameterGroup
from lexiseg.core.setting_ranges import FACTOR, WIDTH, check_divides, check_ranges
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.layers.fused_head import FusedHead

_NOT_DECAYED = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True, kw_only=True)
class StudentSettings:
    """What is trained.

    Attributes:
        width: Of the head.
        norm_groups: Of its normalisation; divides ``width``.
        freeze: Leave the backbone as it is; only the head is trained.
        remembers: Keep the maps of a frozen backbone on disk, in half precision: each image is encoded once. Of use where
            the same images come again, so not with random crops.
        head_lr_factor: Learning rate of the head, as a factor of the backbone's.
    """

    width: int = 256
    norm_groups: int = 8
    freeze: bool = False
    remembers: bool = False
    head_lr_factor: float = 10.0

    def __post_init__(self) -> None:
        check_ranges(
            self, {"width": WIDTH, "norm_groups": WIDTH, "head_lr_factor": FACTOR}, method="the student"
        )
        check_divides(self, "width", "norm_groups", method="the student")


class DenseStudent(nn.Module):
    """Images to one embedding a position.

    With as many dimensions as there are classes it is a plain segmenter, so that is what one costs.

    Args:
        backbone: Gives the feature maps.
        dimensions: Of an embedding.
        settings: What is trained.
    """

    def __init__(self, backbone: PyramidBackbone, dimensions: int, settings: StudentSettings) -> None:
        super().__init__()
        self.backbone, self.settings, self.dimensions = backbone, settings, dimensions
        self.stride, self.size_divisor = backbone.strides[0], backbone.strides[-1]
        self.head = FusedHead(
            backbone.channels, width=settings.width, outputs=dimensions, norm_groups=settings.norm_groups
        )
        self._remembered: tuple[ImageEncoder, ...] = ()  # a tuple: its weights are registered once, above
        if settings.freeze:
            backbone.requires_grad_(False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Return the embeddings of RGB images in [0, 1]; neither normalised nor activated."""
        if self._remembered and self.training:
            packed = self._remembered[0](images)
            return self.head(unpack_maps(packed, self.backbone.channels, self.backbone.strides))
        return self.head(self.backbone(images))

    def take_maps_from(self, source: ImageEncoder) -> None:
        """Take the maps of training images from a ``PackedPyramid`` behind a cache. Not part of the weights."""
        self._remembered = (source,)

    def train(self, mode: bool = True) -> "DenseStudent":
        """Switch to training; a frozen backbone stays in eval mode, its running means too."""
        super().train(mode)
        if self.settings.freeze:
            self.backbone.eval()
        return self

    def parameter_groups(self, prefix: str = "") -> list[ParameterGroup]:
        """Return the parameters to train: the head faster than the backbone, normalisations and biases not decayed."""
        exempt = {
            f"{path}.{name}"
            for path, module in self.named_modules()
            for name, _ in module.named_parameters(recurse=False)
            if isinstance(module, _NOT_DECAYED) or name == "bias"
        }
        groups: dict[tuple[bool, bool], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                key = name.startswith("head."), name not in exempt
                groups.setdefault(key, []).append((prefix + name, parameter))
        return [
            ParameterGroup(
                parameters=parameters,
                lr_factor=self.settings.head_lr_factor if of_head else 1.0,
                decayed=decayed,
            )
            for (of_head, decayed), parameters in groups.items()
        ]


class PackedPyramid(ImageEncoder):
    """The maps of a pyramid as one map at the coarsest stride, so that a cache of encoders can keep them.

    What lies in one coarsest cell becomes its channels; nothing is lost.

    Args:
        backbone: For images whose sides are multiples of its coarsest stride.
    """

    def __init__(self, backbone: PyramidBackbone) -> None:
        super().__init__()
        self.backbone, self.stride = backbone, backbone.strides[-1]

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return the packed maps of RGB images in [0, 1]."""
        maps = self.backbone(images)
        packed = [
            rearrange(
                each, "b d (h y) (w x) -> b (h w) (d y x)", y=self.stride // stride, x=self.stride // stride
            )
            for each, stride in zip(maps, self.backbone.strides, strict=True)
        ]
        grid = (maps[-1].shape[2], maps[-1].shape[3])
        return PatchFeatures(tokens=torch.cat(packed, dim=2), grid=grid, stride=self.stride)


def unpack_maps(
    packed: PatchFeatures, channels: Sequence[int], strides: Sequence[int]
) -> list[Float[Tensor, "B _ _ _"]]:
    """Return the maps that ``PackedPyramid`` packed, fine to coarse."""
    ratios = [strides[-1] // stride for stride in strides]
    widths = [width * ratio**2 for width, ratio in zip(channels, ratios, strict=True)]
    return [
        rearrange(part, "b (h w) (d y x) -> b d (h y) (w x)", h=packed.grid[0], y=ratio, x=ratio)
        for part, ratio in zip(packed.tokens.split(widths, dim=2), ratios, strict=True)
    ]
