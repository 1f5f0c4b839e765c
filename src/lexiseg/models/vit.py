"""A plain vision transformer, trained from scratch: patches and a class token, nothing else.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. Widths of S from Touvron et al., "Training
data-efficient image transformers", ICML 2021.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.setting_ranges import DEPTH, SIDE, SPREAD, WIDTH, check_divides, check_ranges
from lexiseg.layers.transformer_block import TransformerBlock, initialise_linear
from lexiseg.models.pixel_normalisation import PixelNormalisation
from lexiseg.ops.position_table import resize_position_table

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


_RANGES = {
    **dict.fromkeys(("width", "num_heads"), WIDTH),
    "depth": DEPTH,
    **dict.fromkeys(("patch", "image_side"), SIDE),
    "init_std": SPREAD,
}


@dataclass(frozen=True, kw_only=True)
class ViTShape:
    """How large a vision transformer is.

    Attributes:
        width: Channels of a token.
        depth: Number of transformer blocks.
        num_heads: Number of attention heads; divides ``width``.
        patch: Side of a patch in pixels.
        image_side: Side of the square training images in pixels, a multiple of ``patch``; sets the size of
            the position embedding.
        init_std: Standard deviation of the initial weights; narrow networks learn faster with more than 0.02.
    """

    width: int = 384
    depth: int = 12
    num_heads: int = 6
    patch: int = 16
    image_side: int = 224
    init_std: float = 0.02

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the image transformer")
        check_divides(self, "width", "num_heads", method="the image transformer")
        check_divides(self, "image_side", "patch", method="the image transformer")


VIT_S16 = ViTShape()
VIT_B16 = ViTShape(width=768, num_heads=12)


class VisionTransformer(ImageEncoder):
    """Images to patch tokens and a class token, after the last normalisation.

    Other sizes than that of training get the position table resized (bicubic, half-pixel centres); the
    class token's row stays as it is.

    Args:
        shape: How large it is; 21.7 million parameters for S/16, 85.8 million for B/16.
        mean: What is subtracted from red, green and blue in [0, 1].
        std: What they are divided by then.
    """

    def __init__(
        self,
        shape: ViTShape = VIT_S16,
        *,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.stride = shape.patch
        self.width = shape.width
        self.normalisation = PixelNormalisation(mean, std)
        self.patch_embedding = nn.Linear(3 * shape.patch**2, shape.width)
        side = shape.image_side // shape.patch
        self.class_token = nn.Parameter(torch.zeros(shape.width))
        self.class_position = nn.Parameter(torch.zeros(shape.width))
        self.patch_positions = nn.Parameter(torch.zeros(side, side, shape.width))
        self.blocks = nn.ModuleList(
            TransformerBlock(shape.width, shape.num_heads, norm_first=True, norm_eps=1e-6)
            for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        initialise_linear(self, shape.init_std)
        for table in (self.class_token, self.class_position, self.patch_positions):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of the patch."""
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        # The convolution of the paper as one matrix product: its stride is its size.
        cut = rearrange(
            self.normalisation(images), "b c (h p) (w q) -> b (h w) (p q c)", p=self.stride, q=self.stride
        )
        patches = self.patch_embedding(cut) + resize_position_table(self.patch_positions, grid, "bicubic")
        start = repeat(self.class_token + self.class_position, "d -> b 1 d", b=len(images))
        tokens = torch.cat([start.to(patches.dtype), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return PatchFeatures(tokens=tokens[:, 1:], grid=grid, stride=self.stride, global_token=tokens[:, 0])
