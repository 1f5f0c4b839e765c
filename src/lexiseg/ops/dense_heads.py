"""Heads of a vision transformer's last block that give every patch a vector in the space of texts, without training.

``value``: the patch's own value, no residual, no MLP (a reduction of MaskCLIP). ``maskclip``: the same with residual and
MLP kept (Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022). ``sclip``, ``clearclip``, ``kk``, ``naclip``:
``ops.self_attention``. ``scclip``: Bai et al., "Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation", 2024:
outlier tokens repaired, similarity of middle blocks, two passes.

Differences from the papers' public code: position tables are resized to the exact grid by the encoder; a patch of
``scclip`` always keeps itself where nothing is above the mean; and the blocks that ``scclip`` names for 12 are taken at
the same relative depth of other networks.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.block_states import BlockStates
from lexiseg.ops.outlier_tokens import NUM_NEIGHBOURS, find_outliers, outlier_scores, repair_tokens
from lexiseg.ops.self_attention import RULES, aggregate_alike, centred_attention, key_attention, mixed_values

#: Heads whose last block keeps its residual and its MLP; the others are reduced to the output projection.
KEPT = ("maskclip", "sclip")

#: What ``--set head`` takes for one network alone.
OwnHead: TypeAlias = Literal["value", "maskclip", "sclip", "clearclip", "kk", "naclip", "scclip"]
HEADS = get_args(OwnHead)

#: Heads that take another network's word for what is alike: ``methods.borrowed_attention``.
BorrowingHead: TypeAlias = Literal["proxyclip", "trident", "corrclip"]
BORROWING_HEADS = get_args(BorrowingHead)

_LEAST_ALIKE = 0.4
_CENTRED_FACTOR = 3.0
_CLASS_TOKEN_WEIGHT = 0.3


@dataclass(frozen=True, kw_only=True)
class _SelfCalibratedBlocks:
    """Which blocks ``scclip`` reads, counted from 1: for 12 blocks 9, 4 and 4 to 10; the input of a single block."""

    before: int
    after: int
    second_pass: range

    @classmethod
    def of(cls, num_blocks: int) -> "_SelfCalibratedBlocks":
        """Scale the paper's numbers to a network of other depth."""
        last = num_blocks - 1
        before, first, final = (min(last, max(1, round(each * num_blocks / 12))) for each in (9, 4, 10))
        return cls(before=before, after=first, second_pass=range(first, final + 1))


def graph_facts(head: str) -> dict[str, str]:
    """Return what a graph that is written with a head says of itself: the head, and how few patches it holds for.

    ``scclip`` looks at a fixed number of neighbours in a graph; torch takes all where there are fewer.
    """
    return {"head": head, **({"least_patches": str(NUM_NEIGHBOURS + 1)} if head == "scclip" else {})}


def dense_tokens(opened: BlockStates, head: str) -> Float[Tensor, "B N E"]:
    """Compute patch tokens in the space of texts, not normalised.

    Args:
        opened: The batch up to the last block.
        head: One of ``HEADS``.
    """
    block = opened.block
    if head == "scclip":
        return _self_calibrated(opened)
    states = opened.last
    if head in ("value", "maskclip"):
        attended = block.values(states)
    else:
        more = {"grid": opened.grid} if head == "naclip" else {}
        attended = RULES[head](*block.queries_keys_values(states), scale=block.scale, **more)
    attended = attended[:, :, 1:]
    tokens = block.complete(states[:, 1:], attended) if head in KEPT else block.output(attended)
    return block.project(tokens)


def _self_calibrated(opened: BlockStates) -> Float[Tensor, "B N E"]:
    blocks = _SelfCalibratedBlocks.of(opened.num_blocks)
    last, grid = opened.last, opened.grid
    outliers = find_outliers(outlier_scores(last[:, 1:]))
    before = repair_tokens(opened.states[blocks.before][:, 1:], outliers, grid)
    similarity = _cosines(before)
    after = _cosines(opened.states[blocks.after][:, 1:])
    repaired = repair_tokens(last[:, 1:], outliers, grid)
    repaired = aggregate_alike(repaired, similarity, least=_LEAST_ALIKE)
    summed = torch.stack([opened.states[b] for b in blocks.second_pass]).sum(dim=0)
    weights = centred_attention(similarity, factor=_CENTRED_FACTOR)
    # The two passes end in maps that are linear: mixing by ``weights``, the output projection, the last aggregation. Their
    # sum goes through these once; the projection's bias, which each pass adds, comes from nothing at all.
    block = opened.block
    pairs = [block.keys_values(patches) for patches in (repaired, summed[:, 1:])]
    attended = mixed_values(weights, pairs[0][1] + pairs[1][1])
    attended = attended + sum(key_attention(key, key, value, scale=block.scale) for key, value in pairs)
    tokens = block.output(attended / 2) + block.output(torch.zeros_like(attended[:, :, :1]))
    tokens = tokens + _CLASS_TOKEN_WEIGHT * (last[:, :1] + summed[:, :1])
    return block.project(aggregate_alike(tokens, after, least=_LEAST_ALIKE))


def _cosines(tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N N"]:
    rows = normalize(tokens, dim=2)
    return rows @ rows.transpose(1, 2)
