"""Backbones for segmentation: networks that give feature maps of several sizes.

ResNet (He et al., CVPR 2016), Swin (Liu et al., ICCV 2021) and SegFormer's Mix Transformer (Xie et al., NeurIPS 2021) are
transformers' classes, EfficientNet-Lite0 is ours with its ImageNet weights from a pip package, DINOv2 (Oquab et al., TMLR 2024)
is a plain vision transformer whose one map is given in four sizes, and ``TinyPyramid`` is for synthetic scenes on one core.

All are returned ready for training. The batch normalisation of pretrained networks stays as it was trained.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, relu6

from lexiseg.core.errors import CheckpointError
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.json_text import decode_json
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.layers.frozen_batch_norm import freeze_batch_norms
from lexiseg.models.checkpoint import build_model, read_config, transformers_class
from lexiseg.models.dinov2 import Dinov2ImageEncoder, build_dinov2, load_dinov2
from lexiseg.models.efficientnet_lite import EfficientNetLite0, load_efficientnet_lite0
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names

_PER_STAGE = ("out_features", "out_indices", "stage_names")  # all stages are given, whatever a file says


class TransformersPyramid(PyramidBackbone):
    """One of transformers' backbones, all stages.

    Args:
        network: Gives ``feature_maps``.
        normalisation: Normalisation of the pixels.
        strides: Pixels per position of every map, fine to coarse.
    """

    def __init__(self, network: Any, normalisation: nn.Module, strides: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.channels, self.strides = tuple(network.channels), tuple(strides)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of RGB images with values in [0, 1], fine to coarse."""
        return list(self.network(self.normalisation(images)).feature_maps)


def build_resnet(config: Mapping[str, Any], normalisation: nn.Module) -> TransformersPyramid:
    """Build a ResNet of any depth, without weights, from the fields of a ``ResNetConfig``."""
    settings = transformers_class("ResNetConfig").from_dict(_all_stages(config))
    network = transformers_class("ResNetBackbone")(settings)
    freeze_batch_norms(network)
    first = 8 if settings.downsample_in_first_stage else 4
    return TransformersPyramid(
        network, normalisation, [first << stage for stage in range(len(settings.depths))]
    )


def build_swin(config: Mapping[str, Any], normalisation: nn.Module) -> TransformersPyramid:
    """Build a Swin of any size, without weights, from the fields of a ``SwinConfig``."""
    settings = transformers_class("MaskFormerSwinConfig").from_dict(_all_stages(config))
    network = transformers_class("MaskFormerSwinBackbone")(settings)
    _keep_window_positions(network)
    strides = [settings.patch_size << stage for stage in range(len(settings.depths))]
    return TransformersPyramid(network, normalisation, strides)


def load_resnet(folder: Path) -> TransformersPyramid:
    """Load an ImageNet ResNet, with or without its classifier: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("resnet",))
    backbone = build_model(
        folder, lambda: build_resnet(config, nn.Identity()), targets=published_names("resnet")
    )
    backbone.normalisation = load_normalisation(folder)
    return backbone.requires_grad_(True)


def load_swin(folder: Path) -> TransformersPyramid:
    """Load an ImageNet Swin, with or without its classifier: a folder in hub layout.

    The norms that follow every stage are not part of a classifier and start fresh.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("swin",))
    backbone = build_swin({**config, "model_type": "maskformer-swin"}, load_normalisation(folder))
    settings, model_class = backbone.network.config, type(backbone.network.model)

    def build() -> nn.Module:
        model = model_class(settings)
        _keep_window_positions(model)
        return model

    backbone.network.model = build_model(folder, build, targets=published_names("swin"))
    backbone.requires_grad_(True)
    backbone.network.model.layernorm.requires_grad_(False)  # a classifier's; it takes part in nothing here
    return backbone.eval()


class SegformerPyramid(PyramidBackbone):
    """SegFormer's encoder, all stages.

    Args:
        network: transformers' ``SegformerModel``.
        normalisation: Of the pixels.
    """

    def __init__(self, network: Any, normalisation: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.channels = tuple(network.config.hidden_sizes)
        strides = network.config.strides
        self.strides = tuple(math.prod(strides[: stage + 1]) for stage in range(len(strides)))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of RGB images with values in [0, 1], fine to coarse."""
        return list(self.network(self.normalisation(images), output_hidden_states=True).hidden_states)


def build_segformer(config: Mapping[str, Any], normalisation: nn.Module) -> SegformerPyramid:
    """Build SegFormer's encoder of any size, without weights, from the fields of a ``SegformerConfig``."""
    settings = transformers_class("SegformerConfig").from_dict(dict(config))
    return SegformerPyramid(transformers_class("SegformerModel")(settings), normalisation)


def load_segformer(folder: Path) -> SegformerPyramid:
    """Load SegFormer's encoder, with or without a classifier or a decoder on it: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("segformer",))
    backbone = build_model(folder, lambda: build_segformer(config, nn.Identity()), targets=_segformer_targets)
    backbone.normalisation = load_normalisation(folder)
    return backbone.requires_grad_(True)


class EfficientNetPyramid(PyramidBackbone):
    """EfficientNet-Lite0 up to its last block, at strides 4 to 32; every channel standardised.

    Nothing follows these maps in the network, neither a normalisation nor a nonlinearity. As they are, the part
    that all images share is an order of magnitude larger than what tells images apart, and a
    decoder that averages over places learns to overlook the image. So a batch normalisation follows each, as in
    Tan et al., "EfficientDet", CVPR 2020, begun with what the network's own normalisations say of its channels.

    Args:
        network: At stride 32, folded; its convolutions are shared, its head is left out.
    """

    channels = (24, 40, 112, 320)
    strides = (4, 8, 16, 32)
    _TAPS = (2, 4, 10, 15)  # the last block of each of these strides

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        assert network.stride == 32, "dilated"
        self.normalisation = PixelNormalisation((127 / 255,) * 3, (128 / 255,) * 3)
        self.stem, self.blocks = network.stem, network.blocks
        usual = network.usual_values()
        self.standardised = nn.ModuleList(_standardising(*usual[tap]) for tap in self._TAPS)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of RGB images with values in [0, 1], fine to coarse."""
        pixels = self.normalisation(images).contiguous(memory_format=torch.channels_last)
        maps = relu6(self.stem(pixels))
        taken: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            maps = block(maps)
            if index in self._TAPS:
                taken.append(self.standardised[len(taken)](maps))
        return taken


def _standardising(mean: Float[Tensor, " C"], std: Float[Tensor, " C"]) -> nn.BatchNorm2d:
    """Follow what training makes of the channels, beginning with what is known of them."""
    norm = nn.BatchNorm2d(len(mean), affine=False)
    norm.running_mean, norm.running_var = mean.clone(), std.square()
    return norm


def load_efficientnet_pyramid() -> EfficientNetPyramid:
    """Load EfficientNet-Lite0's ImageNet weights (19 MB, a pip package; about 0.1 s).

    Raises:
        MissingWeightsError: The package with the weights is not installed.
        CheckpointError: The file is not the published one.
    """
    return EfficientNetPyramid(load_efficientnet_lite0()).requires_grad_(True)


class Dinov2Pyramid(PyramidBackbone):
    """DINOv2's patch tokens as maps of four sizes: once as they are, one twice as fine, two coarser.

    After the simple feature pyramid of Li et al., "Exploring Plain Vision Transformer Backbones for Object
    Detection", ECCV 2022, with bilinear resizing and averages in place of its trained convolutions: what is trained
    then begins above the tokens, and these can come from a cache.

    Args:
        encoder: Takes part in training unless its parameters are frozen.
    """

    def __init__(self, encoder: Dinov2ImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        patch = encoder.stride
        assert patch % 2 == 0, f"patches of {patch} pixels have no half"
        self.channels = (int(encoder.vision.config.hidden_size),) * 4
        self.strides = (patch // 2, patch, 2 * patch, 4 * patch)
        self._source: tuple[ImageEncoder, ...] = (encoder,)  # a tuple: its weights are registered once, above

    def take_tokens_from(self, source: ImageEncoder) -> None:
        """Load tokens from another encoder: this one behind a cache. Not part of the weights."""
        self._source = (source,)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of RGB images with values in [0, 1], fine to coarse.

        What a side lacks to a multiple of the coarsest stride is filled with grey on the right and below.
        """
        coarsest = self.strides[-1]
        below, beside = (-images.shape[2] % coarsest, -images.shape[3] % coarsest)
        tokens = self._source[0](pad(images, (0, beside, 0, below), value=0.5)).as_map()
        fine = interpolate(tokens, scale_factor=2, mode="bilinear", align_corners=False)
        return [fine, tokens, avg_pool2d(tokens, 2), avg_pool2d(tokens, 4)]


def load_dinov2_pyramid(folder: Path) -> Dinov2Pyramid:
    """Load any DINOv2 checkpoint with an even patch: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    encoder = load_dinov2(folder)
    if encoder.stride % 2:
        raise CheckpointError(
            doing=f"making feature maps of the DINOv2 in {folder}",
            found=f"patches of {encoder.stride} pixels",
            expected="patches whose side is even: the finest map has half of it",
            fix="Take a published DINOv2, whose patches have 14 pixels.",
        )
    return Dinov2Pyramid(encoder).requires_grad_(True)


class TinyPyramid(PyramidBackbone):
    """Two convolutions a stage with group normalisation, from random numbers: for images of 64×64.

    Args:
        channels: Channels of every stage; multiples of 8.
        first_stride: Stride of the finest map; a power of two.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 48, 64), *, first_stride: int = 2) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(first_stride << stage for stage in range(len(self.channels)))
        self.stages = nn.ModuleList()
        inputs, reached = 3, 1
        for outputs, stride in zip(self.channels, self.strides, strict=True):
            self.stages.append(
                nn.Sequential(
                    _conv_norm_relu(inputs, outputs, stride // reached),
                    _conv_norm_relu(outputs, outputs, 1),
                )
            )
            inputs, reached = outputs, stride

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of RGB images with values in [0, 1], fine to coarse."""
        maps, taken = images * 4 - 2, []
        for stage in self.stages:
            maps = stage(maps)
            taken.append(maps)
        return taken


def describe_backbone(backbone: PyramidBackbone) -> dict[str, Any]:
    """Describe a backbone of this file, without its weights and as JSON has it; see ``build_backbone``."""
    match backbone:
        case TransformersPyramid() | SegformerPyramid():
            return decode_json(backbone.network.config.to_json_string(use_diff=False))
        case TinyPyramid():
            return {
                "model_type": "tiny",
                "channels": list(backbone.channels),
                "first_stride": backbone.strides[0],
            }
        case EfficientNetPyramid():
            return {"model_type": "efficientnet-lite0"}
        case Dinov2Pyramid():
            return decode_json(backbone.encoder.vision.config.to_json_string(use_diff=False))
    raise TypeError(f"{type(backbone).__name__} is none of the backbones here")


def build_backbone(described: Mapping[str, Any]) -> PyramidBackbone:
    """Build a backbone from what ``describe_backbone`` said of it, with weights that mean nothing.

    Raises:
        KeyError: A part of the description is missing.
        ValueError: It is of none of the kinds here.
    """
    # The normalisation of pixels is among the weights.
    nothing = PixelNormalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    match described["model_type"]:
        case "resnet":
            return build_resnet(described, nothing)
        case "maskformer-swin":
            return build_swin(described, nothing)
        case "segformer":
            return build_segformer(described, nothing)
        case "tiny":
            return TinyPyramid(described["channels"], first_stride=described["first_stride"])
        case "efficientnet-lite0":
            network = EfficientNetLite0().eval()
            network.fold_normalisations()
            return EfficientNetPyramid(network)
        case "dinov2" | "dinov2_with_registers":
            return Dinov2Pyramid(Dinov2ImageEncoder(build_dinov2(described), nothing))
    raise ValueError(f"a backbone of the kind {described['model_type']!r}")


def _conv_norm_relu(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    # A window of stride + 1 or more pixels, odd, sees every pixel of the map before.
    side = max(3, stride + 1 - stride % 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
    )


def _all_stages(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in _PER_STAGE}
    stages = [f"stage{stage}" for stage in range(1, len(config["depths"]) + 1)]
    return {**kept, "out_features": stages}


def _keep_window_positions(network: nn.Module) -> None:
    """Compute Swin's index tables where a network has no memory; they follow from the window's size."""
    for module in network.modules():
        if hasattr(module, "relative_position_index"):
            attention: Any = module
            with torch.device("cpu"):
                table = attention.create_relative_position_index()
            del module.relative_position_index
            module.register_buffer("relative_position_index", table, persistent=False)


#: Parts of SegFormer's encoder as files call them and as transformers 5 does.
_SEGFORMER_NAMES = (
    (r"encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
    (r"encoder\.block\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"encoder\.layer_norm\.(\d+)\.", r"stages.\1.layer_norm."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
    (r"\.attention\.self\.(query|key|value)\.", lambda found: f".attention.{found[1][0]}_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
)


def _segformer_targets(name: str) -> tuple[str, ...]:
    if name.startswith(("classifier.", "decode_head.")):
        return ()
    own = name.removeprefix("segformer.")
    for written, ours in _SEGFORMER_NAMES:
        own = re.sub(written, ours, own)
    return (f"network.{own}",)
