"""MaskFormer: an image to a set of masks with a class each.

Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic Segmentation",
NeurIPS 2021. A mask is where pixel embeddings agree with a proposal's mask embedding; its class is a softmax over
the vocabulary and "no object".

The backbone is passed in. Nothing here is compiled, and nothing depends on the size of the image.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.interfaces import ParameterGroup
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
    """

    num_queries: int = 100
    width: int = 256
    num_layers: int = 6
    num_heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    norm_groups: int = 32


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
        backbone: Gives the feature maps; its coarsest is what the decoder looks at.
        num_classes: Without "no object".
        settings: Sizes of the rest.
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
        self.mask_decoder = MaskDecoder(
            backbone.channels[-1],
            num_queries=settings.num_queries,
            width=settings.width,
            num_layers=settings.num_layers,
            num_heads=settings.num_heads,
            feedforward=settings.feedforward,
            dropout_rate=settings.dropout,
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
        proposals = self.mask_decoder(maps[-1])
        if last_only:
            proposals = proposals[-1:]
        mask_embeddings = self.mask_head(proposals)
        return MaskFormerOutput(
            pixel_embeddings=pixels,
            class_logits=self.class_head(proposals),
            mask_embeddings=mask_embeddings,
            mask_logits=torch.einsum("lbqd,bdhw->lbqhw", mask_embeddings, pixels),
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the parameters to train: the backbone at a tenth of the rate, norms and embeddings not decayed."""
        exempt = {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.named_modules()
            for name, _ in module.named_parameters(recurse=False)
            if isinstance(module, _NOT_DECAYED) or name in _POSITIONS
        }
        groups: dict[tuple[bool, bool], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                key = name.startswith("backbone."), name not in exempt
                groups.setdefault(key, []).append((name, parameter))
        return [
            ParameterGroup(
                parameters=parameters, lr_factor=_BACKBONE_LR_FACTOR if of_backbone else 1.0, decayed=decayed
            )
            for (of_backbone, decayed), parameters in groups.items()
        ]


def semantic_scores(
    class_logits: Float[Tensor, "B Q C1"], mask_logits: Float[Tensor, "B Q h w"]
) -> Float[Tensor, "B C h w"]:
    """Sum over proposals the probability of each class times the probability of the mask.

    MaskFormer's semantic inference (Cheng et al., NeurIPS 2021). The last column, "no object", takes part
    in the softmax and then drops out, so that unsure proposals count little. Values lie in [0, Q].

    Args:
        class_logits: The last column is "no object".
        mask_logits: Any size.
    """
    classes = class_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", classes, mask_logits.sigmoid())
