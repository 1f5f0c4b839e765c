"""Where the patches of a window lie in its image: photographs are upright, and rasters have no up.

A window's extent is four numbers: its top, bottom, left and right edge as shares of the image's height and width. A whole
image's is 0, 1, 0, 1; all are NaN where nothing is known of the image around, or it has no up. What goes by the place takes its
mean over an image then.
"""

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor


def whole_extents(count: int) -> Float[Tensor, "B 4"]:
    """Return the extents of whole images."""
    return torch.tensor([0.0, 1.0, 0.0, 1.0]).repeat(count, 1)


def unknown_extents(count: int) -> Float[Tensor, "B 4"]:
    """Return the extents of windows of which nothing is known."""
    return torch.full((count, 4), torch.nan)


def patch_places(
    extents: Float[Tensor, "B 4"], grid: tuple[int, int]
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
    """Return how high patches lie, 0 at the image's top edge and 1 at its bottom edge, and how far across, 0 to 1.

    Args:
        extents: Of the windows; NaN gives NaN.
        grid: Patches of a window, in rows and columns.
    """
    rows, columns = ((torch.arange(count).to(extents) + 0.5) / count for count in grid)
    top, bottom, left, right = extents[..., None].unbind(1)
    height = repeat(top + (bottom - top) * rows, "b h -> b (h w)", w=grid[1])
    across = repeat(left + (right - left) * columns, "b w -> b (h w)", h=grid[0])
    return height, across
