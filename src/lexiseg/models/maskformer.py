"""MaskFormer: an image to a set of masks with a class each.

Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic Segmentation",
NeurIPS 2021. A mask is where pixel embeddings agree with a proposal's mask embedding; its class is a softmax over
the vocabulary and "no object".

The backbone is passed in. Nothing here is compiled, and nothing depends on the size of the image.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures, Proposals
from lexiseg.core.interfaces import ParameterGroup
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.layers.mask_decoder import MaskDecoder
from lexiseg.layers.pixel_decoder import PixelDecoder

_BACKBONE_LR_FACTOR = 0.1
_NOT_DECAYED = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.Embedding,
)
#: Numbers the sizes can have. The largest are far beyond any published network, and below what fails in torch.
_RANGES = {
    "num_queries": Range(least=1, most=10_000),
    "width": Range(least=4, most=8192),
    "num_layers": Range(least=1, most=100),
    "num_heads": Range(least=1, most=8192),
    "feedforward": Range(least=1, most=65_536),
    "dropout": Range(least=0, most=0.999),
    "norm_groups": Range(least=1, most=8192),
    "decoder_map": Range(least=0, most=7),
}
_POSITIONS = ("relative_position_bias_table", "position_embeddings")  # Swin's embeddings, bare parameters


@dataclass(frozen=True, kw_only=True)
class MaskFormerSettings:
    """Sizes of everything above the backbone; the defaults are the published ones.

    Attributes:
        num_queries: Number of proposals (queries) per image.
        width: Channels of pixel, proposal and mask embeddings; a multiple of 4, of ``num_heads`` and of
            ``norm_groups``.
        num_layers: Number of transformer decoder layers.
        num_heads: Number of attention heads of the decoder.
        feedforward: Hidden units of the decoder's feed-forward networks.
        dropout: Dropout rate of the decoder in training, in [0, 1).
        norm_groups: Number of groups of the pixel decoder's group norms.
        learned_start: Start the proposals of the decoder at learned embeddings, as Mask2Former does; False
            starts them at zero, as MaskFormer does.
        decoder_map: Number of the backbone's map that the decoder looks at, from 0, the finest; None for the
            coarsest, as in MaskFormer.
    """

    num_queries: int = 100
    width: int = 256
    num_layers: int = 6
    num_heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    norm_groups: int = 32
    learned_start: bool = False
    decoder_map: int | None = None

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="MaskFormer")
        divisors = {"4": 4, "num_heads": self.num_heads, "norm_groups": self.norm_groups}
        for name, divisor in divisors.items():
            if self.width % divisor:
                raise InputError(
                    doing="reading the settings of MaskFormer",
                    found=f"width = {self.width}" + ("" if name == "4" else f" and {name} = {divisor}"),
                    expected=f"a width that is a multiple of {name}",
                    fix=f"Take width {max(1, round(self.width / divisor)) * divisor}"
                    + ("." if name == "4" else f", or another {name}."),
                )


#: For images of 64×64 and the ``TinyPyramid``: a step of 16 images takes about a tenth of a second.
TINY = MaskFormerSettings(
    num_queries=16, width=32, num_layers=3, num_heads=4, feedforward=64, dropout=0.0, norm_groups=8
)


@dataclass(frozen=True, kw_only=True)
class MaskFormerOutput:
    """Proposals after every decoder layer; the last layer's are the answer.

    Attributes:
        pixel_embeddings: Pixel embeddings at the backbone's finest stride.
        class_logits: Class logits of every proposal; the last column is "no object".
        mask_embeddings: Mask embedding of every proposal.
        mask_logits: Mask logits: inner products of mask and pixel embeddings.
    """

    pixel_embeddings: Float[Tensor, "B D h w"]
    class_logits: Float[Tensor, "L B Q C1"]
    mask_embeddings: Float[Tensor, "L B Q D"]
    mask_logits: Float[Tensor, "L B Q h w"]


class MaskFormer(nn.Module):
    """Images to proposals.

    Args:
        backbone: Gives the feature maps.
        num_classes: Without "no object".
        settings: Sizes of the rest.

    Raises:
        InputError: The backbone has no map of the number ``decoder_map``.
    """

    def __init__(
        self, backbone: PyramidBackbone, num_classes: int, settings: MaskFormerSettings | None = None
    ) -> None:
        super().__init__()
        settings = settings or MaskFormerSettings()
        self.num_classes, self.settings = num_classes, settings
        self.stride, self.size_divisor = backbone.strides[0], backbone.strides[-1]
        self.backbone = backbone
        self.pixel_decoder = PixelDecoder(
            backbone.channels, width=settings.width, norm_groups=settings.norm_groups
        )
        last = len(backbone.channels) - 1
        self._decoder_map = last if settings.decoder_map is None else settings.decoder_map
        if self._decoder_map > last:
            raise InputError(
                doing="building MaskFormer",
                found=f"decoder_map = {settings.decoder_map} of {last + 1} maps",
                expected=f"0 to {last}, or none",
                fix="Change network.decoder_map.",
            )
        self.mask_decoder = MaskDecoder(
            backbone.channels[self._decoder_map],
            num_queries=settings.num_queries,
            width=settings.width,
            num_layers=settings.num_layers,
            num_heads=settings.num_heads,
            feedforward=settings.feedforward,
            dropout_rate=settings.dropout,
            learned_start=settings.learned_start,
        )
        width = settings.width
        self.class_head = nn.Linear(width, num_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, images: Float[Tensor, "B 3 H W"], *, last_only: bool = False) -> MaskFormerOutput:
        """Return the proposals of RGB images with values in [0, 1].

        Args:
            images: Sides are multiples of ``size_divisor``, or maps are rounded up.
            last_only: Give the last layer only (``L`` = 1): all that inference needs, and a sixth of the
                memory for masks.
        """
        maps = self.backbone(images)
        pixels = self.pixel_decoder(maps)
        proposals = self.mask_decoder(maps[self._decoder_map])
        if last_only:
            proposals = proposals[-1:]
        mask_embeddings = self.mask_head(proposals)
        return MaskFormerOutput(
            pixel_embeddings=pixels,
            class_logits=self.class_head(proposals),
            mask_embeddings=mask_embeddings,
            mask_logits=torch.einsum("lbqd,bdhw->lbqhw", mask_embeddings, pixels),
        )

    def propose(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B Q C1"], Float[Tensor, "B Q h w"]]:
        """Return the class logits, "no object" last, and mask logits of the last layer: all that inference needs."""
        output = self(images, last_only=True)
        return output.class_logits[-1], output.mask_logits[-1]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the parameters to train: the backbone at a tenth of the rate, norms and embeddings not decayed."""
        return parameter_groups(self)


class PerPixelClassifier(nn.Module):
    """Class logits of every pixel embedding: what MaskFormer is without proposals.

    The per-pixel baseline of Cheng et al. (NeurIPS 2021): the same backbone and pixel decoder, and one
    linear layer.

    Args:
        backbone: Gives the feature maps.
        num_classes: Number of classes.
        settings: Sizes of the rest; those of the decoder are not looked at.
    """

    def __init__(self, backbone: PyramidBackbone, num_classes: int, settings: MaskFormerSettings) -> None:
        super().__init__()
        self.num_classes, self.settings = num_classes, settings
        self.stride, self.size_divisor = backbone.strides[0], backbone.strides[-1]
        self.backbone = backbone
        self.pixel_decoder = PixelDecoder(
            backbone.channels, width=settings.width, norm_groups=settings.norm_groups
        )
        self.class_head = nn.Conv2d(settings.width, num_classes, 1)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        """Return the class logits of RGB images with values in [0, 1], at ``stride`` pixels each."""
        return self.class_head(self.pixel_decoder(self.backbone(images)))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the parameters to train, as those of MaskFormer."""
        return parameter_groups(self)


def parameter_groups(network: nn.Module) -> list[ParameterGroup]:
    """Return the parameters to train: ``backbone`` at a tenth of the rate, norms and embeddings not decayed."""
    exempt = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, _NOT_DECAYED) or name in _POSITIONS
    }
    groups: dict[tuple[bool, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = name.startswith("backbone."), name not in exempt
            groups.setdefault(key, []).append((name, parameter))
    return [
        ParameterGroup(
            parameters=parameters, lr_factor=_BACKBONE_LR_FACTOR if of_backbone else 1.0, decayed=decayed
        )
        for (of_backbone, decayed), parameters in groups.items()
    ]


#: Colour of what is added beside an image, before normalisation: 128 of 255.
PADDING = 128 / 255


def padded(images: Float[Tensor, "B 3 H W"], divisor: int) -> Float[Tensor, "B 3 h w"]:
    """Fill images up with grey, at the bottom and the right, to multiples of ``divisor``."""
    height, width = images.shape[-2:]
    return pad(images, (0, -width % divisor, 0, -height % divisor), value=PADDING)


@runtime_checkable
class ProposalNetwork(Protocol):
    """A network that proposes masks with a class each.

    Attributes:
        num_classes: Without "no object".
        stride: Pixels per position of the mask logits.
        size_divisor: What sides have to be multiples of.
    """

    num_classes: int
    stride: int
    size_divisor: int

    def propose(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B Q C1"], Float[Tensor, "B Q h w"]]:
        """Return class logits, "no object" last, and mask logits of RGB images in [0, 1]."""


def proposal_features(network: ProposalNetwork, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
    """Take mask logits for patch tokens ``B N Q``, with the class probabilities of their proposals.

    Args:
        network: Images are filled up at the bottom and the right to what it divides by; what falls there is left out.
        images: RGB in [0, 1], sides at least a stride.
    """
    height, width = images.shape[-2:]
    class_logits, mask_logits = network.propose(padded(images, network.size_divisor))
    grid = height // network.stride, width // network.stride
    return replace(
        on_grid(mask_logits, grid, network.stride),
        proposals=Proposals(classes=class_logits.softmax(dim=-1)[..., :-1]),
    )


def on_grid(scores: Float[Tensor, "B K h w"], grid: tuple[int, int], stride: int) -> PatchFeatures:
    """Take scores for patch tokens, those of the padding left out."""
    tokens = rearrange(scores[..., : grid[0], : grid[1]], "b c h w -> b (h w) c")
    return PatchFeatures(tokens=tokens, grid=grid, stride=stride)
