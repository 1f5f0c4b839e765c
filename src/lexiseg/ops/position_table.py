"""Resize the position table of a vision transformer to another grid."""

from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

#: How a network's authors resize: ``bicubic`` (CLIP, SigLIP) or antialiased bilinear (SigLIP 2 NaFlex).
Resampling = Literal["bicubic", "antialiased"]


def resize_position_table(
    table: Float[Tensor, "h w D"], grid: tuple[int, int], resampling: Resampling
) -> Float[Tensor, "N D"]:
    """Return the position embedding of every patch of ``grid``, in raster order.

    Half-pixel centres. At the table's own grid the table itself comes back, bit for bit.
    """
    if grid == tuple(table.shape[:2]):
        return rearrange(table, "h w d -> (h w) d")
    image = rearrange(table, "h w d -> 1 d h w")
    resized = (
        interpolate(image, size=grid, mode="bicubic", align_corners=False)
        if resampling == "bicubic"
        else interpolate(image, size=grid, mode="bilinear", align_corners=False, antialias=True)
    )
    return rearrange(resized, "1 d h w -> (h w) d")
