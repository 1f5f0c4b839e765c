"""PatchFeatures: what an image encoder returns."""

from dataclasses import dataclass, field

from einops import rearrange
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The segments that an encoder groups its patches into, where it does.

    Attributes:
        shares: ``B N G``, share of every patch in every segment; each row sums to 1.
        embeddings: ``B G D``, one vector a segment, in the space of the patch tokens.
    """

    shares: Float[Tensor, "B N G"]
    embeddings: Float[Tensor, "B G D"]


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """What the patch tokens of a mask classifier say: a token is the mask logits of every proposal in that patch.

    Attributes:
        classes: ``B Q K``, probability of every class for every proposal; rows need not sum to 1, as "no object"
            is left out.
    """

    classes: Float[Tensor, "B Q K"]


@dataclass(frozen=True, kw_only=True)
class PatchFeatures:
    """Patch tokens of a batch of images, in raster order.

    Attributes:
        tokens: ``B N D``, as the encoder leaves them: not normalised unless it says so.
        grid: ``(h, w)`` with ``h * w == N``.
        stride: Pixels of the encoded image per patch, the same on both axes.
        global_token: ``B D`` in the same space, or None where the encoder has none.
        segments: What the encoder groups patches into, or None where it does not.
        levels: Further maps of the same images, each ``B D h w`` on a grid of its own, for a method that reads several;
            None where there are none.
        proposals: What the tokens are mask logits of, or None where they are none.
    """

    tokens: Float[Tensor, "B N D"]
    grid: tuple[int, int]
    stride: int
    global_token: Float[Tensor, "B D"] | None = None
    segments: Segments | None = None
    levels: tuple[Float[Tensor, "B _ _ _"], ...] | None = field(default=None, repr=False)
    proposals: Proposals | None = None

    def __post_init__(self) -> None:
        height, width = self.grid
        assert self.tokens.shape[1] == height * width, f"{self.tokens.shape} does not fit grid {self.grid}"

    def as_map(self) -> Float[Tensor, "B D h w"]:
        """Lay the tokens out as a feature map ``B D h w`` (a view where possible)."""
        return rearrange(self.tokens, "b (h w) d -> b d h w", h=self.grid[0])
