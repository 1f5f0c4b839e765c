"""GroupViTShape: how large a GroupViT is, and how its first weights are drawn (``models.groupvit``)."""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import (
    DEPTH,
    FACTOR,
    SHARE,
    SIDE,
    SPREAD,
    WIDTH,
    Range,
    check_divides,
    check_ranges,
)

_RANGES = {
    **dict.fromkeys(
        (
            "width",
            "num_heads",
            "feed_forward",
            "text_width",
            "text_heads",
            "text_feed_forward",
            "projection_hidden",
            "embedding_dim",
        ),
        WIDTH,
    ),
    "depths": Range(least=0, most=DEPTH.most),  # a stage may end with its grouping
    "text_depth": DEPTH,
    **dict.fromkeys(("patch", "image_side"), SIDE),
    **dict.fromkeys(("group_tokens", "groups"), Range(least=0, most=16_384)),
    **dict.fromkeys(("token_ratio", "channel_ratio"), Range(least=0, most=64, above=True)),
    "divisor_offset": FACTOR,
    "drop_path": SHARE,
    "max_tokens": Range(least=3, most=16_384),
    "norm_eps": Range(least=0, most=1, above=True),
    "init_std": SPREAD,
}


@dataclass(frozen=True, kw_only=True)
class GroupViTShape:
    """How large a GroupViT is. The defaults are the paper's.

    Attributes:
        width: Length of an image token.
        num_heads: Attention heads of the image transformer; divide ``width``.
        patch: Side of a patch in pixels.
        image_side: Side of the square images of training, a multiple of ``patch``: sets the position table.
        depths: Blocks of each stage.
        group_tokens: Learned tokens of each stage; 0 for a stage that groups nothing.
        groups: Segments that leave each stage.
        token_ratio: Inner width of the mixing of group tokens in a grouping block, over ``width``.
        channel_ratio: Inner width of the feed-forward network at its end, over ``width``.
        feed_forward: Inner width of all other feed-forward networks of the image transformer.
        divisor_offset: Added to the number of tokens that a group's sum is divided by; 1 in the released code,
            0 in the paper's formula.
        hard_groups: Whether a token goes to one group or is shared out among all.
        drop_path: Share of samples that skip a part of the last block while training; rises from 0.
        text_width: Length of a text token.
        text_depth: Blocks of the text transformer.
        text_heads: Its attention heads.
        text_feed_forward: Inner width of its feed-forward networks.
        max_tokens: Tokens of a text, start and end included.
        projection_hidden: Inner width of the projections into the shared space.
        embedding_dim: Length of the shared space.
        projection_norm: Inside the projections: ``batch`` as published, ``layer`` for batches of a few samples.
        norm_eps: Added to the variance by the layer normalisations.
        init_std: Standard deviation of the first weights; narrow networks learn faster with more than 0.02.
        spread_groups: Set groups apart from the start: first group tokens of deviation 1, and mixing and
            assigning layers that keep the scale of what comes in. Small networks otherwise share every patch out
            alike for hundreds of steps; the published one starts that way.
        content_start: Let segments follow content from the start: assignments four times as decided as those of
            ``spread_groups``, and three times as much of its patches as of its token in a segment. Small networks
            otherwise learn classes by what group tokens see of the whole image, and name segments by it.
    """

    width: int = 384
    num_heads: int = 6
    patch: int = 16
    image_side: int = 224
    depths: tuple[int, ...] = (6, 3, 3)
    group_tokens: tuple[int, ...] = (64, 8, 0)
    groups: tuple[int, ...] = (64, 8, 0)
    token_ratio: float = 0.5
    channel_ratio: float = 4.0
    feed_forward: int = 1536
    divisor_offset: float = 1.0
    hard_groups: bool = True
    drop_path: float = 0.1
    text_width: int = 256
    text_depth: int = 12
    text_heads: int = 4
    text_feed_forward: int = 1024
    max_tokens: int = 77
    projection_hidden: int = 4096
    embedding_dim: int = 256
    projection_norm: Literal["batch", "layer"] = "batch"
    norm_eps: float = 1e-5
    init_std: float = 0.02
    spread_groups: bool = False
    content_start: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="GroupViT's network")
        for whole, part in (("image_side", "patch"), ("width", "num_heads"), ("text_width", "text_heads")):
            check_divides(self, whole, part, method="GroupViT's network")
        lengths = {len(self.depths), len(self.group_tokens), len(self.groups)}
        if len(lengths) != 1 or not self.depths or self.group_tokens[0] < 1:
            raise InputError(
                doing="reading the settings of GroupViT's network",
                found=f"depths {self.depths}, group_tokens {self.group_tokens}, groups {self.groups}",
                expected="one entry a stage in each, and group tokens in the first stage, which groups the patches",
                fix="Correct them, or leave them out for the published numbers.",
            )

    @property
    def grid_side(self) -> int:
        """Patches along a side of a training image."""
        return self.image_side // self.patch
