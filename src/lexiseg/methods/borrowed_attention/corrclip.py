"""CorrCLIP: attention inside regions only, three branches, and a vote in every region.

Zhang et al., "CorrCLIP: Reconstructing Patch Correlations in CLIP for Open-Vocabulary Semantic Segmentation", ICCV 2025,
version 1. Written from a description of its formulas; the public code has no licence and was not read.

Differences from that code, as described: regions are cut once on the whole image and windows see their part of them; where
everything is segmented no region counts as unsegmented; a patch always keeps itself; other numbers of blocks than 12, 24
and 32 take the middle blocks of 12 at the same depth. Without a vision model all patches are alike, so that a region is
its mean value. SAM's automatic masks are asked for three a prompt, not one.

Of version 2 there is the bank of unlabelled regions (``region_bank``), for one CLIP. There, features of the vision model
are those of the whole image at twice CLIP's grid, and the bank's answer is painted at pixels; here, they are those of the
window, and it is painted on the grid.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int32, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.block_states import BlockStates
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, MaskProposer, OpenImageEncoder, TextEncoder
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision, Redecision
from lexiseg.inference.encode import EncodedImage, resize_regions
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.borrowed_attention.base import BorrowedAttention
from lexiseg.methods.borrowed_attention.region_bank import (
    RegionBank,
    RegionSupport,
    check_made_with,
    mean_of_regions,
)
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.ops.proxy_attention import resize_values
from lexiseg.ops.region_pooling import pool_regions
from lexiseg.ops.region_scope import merge_alike, paint_regions, region_vote, scope_attention
from lexiseg.ops.self_attention import mixed_values

#: Blocks whose mean is the spatial branch, counted from 1, by the number of blocks.
_SPATIAL_BLOCKS = {12: (6, 10), 24: (11, 22), 32: (3, 30)}


class CorrClip(BorrowedAttention):
    """Patches take values of patches of their own region.

    Args:
        clip: Gives values; its space is that of the texts.
        text_encoder: Gives the class embeddings.
        vision: Says how alike patches of a region are; None for all alike.
        proposer: Cuts images into regions; None for no region at all.
        name: What the model was asked for by.
        settings: Inference defaults.
        method: The method's settings.
        bank: Regions of other photographs, made with the same networks; None for none.

    Raises:
        InputError: The bank was made with others.
    """

    def __init__(
        self,
        clip: OpenImageEncoder,
        text_encoder: TextEncoder,
        vision: ImageEncoder | None,
        proposer: MaskProposer | None,
        *,
        name: str,
        settings: InferenceSettings,
        method: BorrowedAttentionSettings,
        bank: RegionBank | None = None,
    ) -> None:
        super().__init__(
            clip, text_encoder, vision, name=name, head="corrclip", settings=settings, method=method
        )
        self.proposer = proposer
        if method.region_vote:
            self.applies = (*self.applies, "region-vote")
        self.support: RegionSupport | None = None
        if bank is not None:
            check_made_with(bank, self.made_with())
            self.support = RegionSupport(bank, method.bank_search, method.bank_neighbours)
            self.method_settings = {**self.method_settings, "bank_sha256": bank.sha256}

    def made_with(self) -> dict[str, Any]:
        """Return what decides keys and values of regions: networks, how regions are cut, weights of the branches."""
        parts = (
            "image_encoder",
            "vision_encoder",
            "proposer",
            "points_per_side",
            "merge_distance",
            "sharpness",
        )
        return {part: self.method_settings[part] for part in (*parts, "spatial_weight", "semantic_weight")}

    def propose_regions(self, image: UInt8[np.ndarray, "H W 3"]) -> Int32[np.ndarray, "H W"]:
        """Cut the whole image into regions, larger ones on top; no mask at all is an answer."""
        if self.proposer is None:
            return np.zeros(image.shape[:2], np.int32)
        return paint_regions(self.proposer.propose(image).masks)

    def finish_encoding(self, encoded: EncodedImage) -> EncodedImage:
        """Mix into the patches of every region what the bank says of it; nothing without a bank.

        Scores are cosines, linear in the tokens: mixing tokens is mixing scores.
        """
        if self.support is None or encoded.regions is None or not encoded.regions.any():
            return encoded
        keys, _, numbers = self._described(encoded)
        own = encoded.features[0].tokens
        said = own.new_zeros(int(encoded.regions.max()) + 1, own.shape[2])
        said[numbers] = self.support.find(keys).to(own)
        is_known = torch.zeros(len(said), 1, dtype=torch.bool, device=own.device)
        is_known[numbers] = True
        weight, mixed = self.method.bank_weight, []
        for features, places in zip(encoded.features, _places(encoded), strict=True):
            tokens = features.tokens[0]
            both = (1 - weight) * tokens + weight * said[places]
            mixed.append(replace(features, tokens=both.where(is_known[places], tokens)[None]))
        return replace(encoded, features=tuple(mixed))

    def describe_regions(self, photograph: Path) -> tuple[Float[Tensor, "R K"], Float[Tensor, "R V"]]:
        """Return keys and values of a photograph's regions for a bank, as unit rows.

        Raises:
            ImageError: It cannot be read.
        """
        keys, values, _ = self._described(self.encode(photograph))
        return keys, values

    @torch.inference_mode()
    def _described(self, encoded: EncodedImage) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys, values and numbers of the regions that have a patch in a window."""
        assert encoded.regions is not None
        settings, tokens = encoded.settings, [each.tokens[0] for each in encoded.features]
        values, numbers = mean_of_regions(_places(encoded), tokens, int(encoded.regions.max()))
        size = fitted_size(
            encoded.image.shape[:2],
            short_side=settings.short_side,
            max_long_side=settings.max_long_side,
            squash=not settings.keep_aspect,
            multiple_of=self.stride,
        )
        whole = resize_image(encoded.image, size)[None].to(tokens[0].device)
        seen, grid = self.patches_of_vision(whole)
        regions = resize_regions(encoded.regions, size).numpy()
        masks = regions[None] == numbers.cpu().numpy()[:, None, None]
        return pool_regions(seen[0], grid, masks), values, numbers

    def encode_images(
        self, images: Float[Tensor, "B 3 H W"], regions: Int32[Tensor, "B H W"] | None = None
    ) -> PatchFeatures:
        """Encode RGB images in [0, 1]; tokens come out with unit length.

        Args:
            images: Windows.
            regions: Their parts of the region maps; left out, nothing is segmented.
        """
        opened = self.clip.open(images)
        if self.vision is None:
            features, grid = None, opened.grid
        else:
            features, grid = self.patches_of_vision(images)
        if regions is None:
            regions = torch.zeros(len(images), *images.shape[2:], dtype=torch.int32, device=images.device)
        of_patches = _nearest(regions, grid)
        block, spatial = opened.block, _spatial_states(opened)
        values = [
            resize_values(block.values(states)[:, :, 1:], opened.grid, grid)
            for states in (opened.last, spatial)
        ]
        mixed: list[list[Tensor]] = [[], []]
        for one in range(len(images)):
            if features is None:
                similarity = values[0].new_ones(of_patches.shape[1], of_patches.shape[1])
            else:
                of_patches[one] = merge_alike(
                    of_patches[one], features[one], max_distance=self.method.merge_distance
                )
                similarity = features[one] @ features[one].T
            weights = scope_attention(similarity, of_patches[one], sharpness=self.method.sharpness)
            for part, value in zip(mixed, values, strict=True):
                part.append(mixed_values(weights[None], value[one : one + 1]))
        tokens = block.project(block.output(torch.cat(mixed[0])))
        if self.method.spatial_weight:
            tokens = tokens + self.method.spatial_weight * block.project(block.output(torch.cat(mixed[1])))
        if self.method.semantic_weight:
            semantic = _semantic_tokens(opened, of_patches, grid)
            tokens = tokens + self.method.semantic_weight * semantic
        stride = opened.stride * opened.grid[0] // grid[0]
        return PatchFeatures(tokens=normalize(tokens, dim=2), grid=grid, stride=stride)

    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Decide as every model does, then let every region vote; a least probability paints background before that."""
        decision = super().decide(encoded, class_names, settings)
        if not self.method.region_vote or encoded.regions is None:
            return decision
        labels = decision.labels
        if settings.is_by_probability:
            labels = decision.label_map(class_names, settings)
            decision = replace(decision, probabilities=np.ones_like(decision.scores))
        return replace(decision, labels=region_vote(labels, encoded.regions), grid_scores=None)

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Say that a region's vote is not decided again; another threshold on the winners' scores is."""
        if not self.method.region_vote:
            return super().redecisions(settings)
        return frozenset({"threshold"} if settings.background == "threshold" else ())


def _places(encoded: EncodedImage) -> list[Int64[Tensor, " N"]]:
    """Return the region of every patch, window by window."""
    assert encoded.regions is not None
    whole = resize_regions(encoded.regions, encoded.resized_size)
    places = []
    for window, features in zip(encoded.windows, encoded.features, strict=True):
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        places.append(
            _nearest(whole[rows, columns][None], features.grid)[0].long().to(features.tokens.device)
        )
    return places


def _nearest(regions: Int32[Tensor, "B H W"], grid: tuple[int, int]) -> Int32[Tensor, "B N"]:
    # Doubles hold every region number exactly; interpolation takes no whole numbers.
    resized = interpolate(regions[:, None].double(), size=grid, mode="nearest-exact")
    return rearrange(resized, "b 1 h w -> b (h w)").to(torch.int32)


def _spatial_states(opened: BlockStates) -> Float[Tensor, "B T W"]:
    """Average the outputs of middle blocks."""
    blocks = opened.num_blocks
    first, last = _SPATIAL_BLOCKS.get(blocks, (round(6 * blocks / 12), round(10 * blocks / 12)))
    first, last = min(first, blocks - 1), min(last, blocks - 1)
    return torch.stack(opened.states[first : last + 1]).mean(dim=0)


def _semantic_tokens(
    opened: BlockStates, of_patches: Int32[Tensor, "B M"], grid: tuple[int, int]
) -> Float[Tensor, "B M E"]:
    """Give every patch the class token that sees its region alone, in the space of texts."""
    maps = rearrange(of_patches, "b (h w) -> b h w", h=grid[0])
    on_clip = _nearest(maps, opened.grid)
    found = []
    for one in range(len(of_patches)):
        numbers, places = torch.unique(of_patches[one], return_inverse=True)
        inside = on_clip[one][None] == numbers[:, None]
        allowed = torch.cat([torch.ones_like(inside[:, :1]), inside], dim=1)  # the class token is seen by all
        states = [each[one : one + 1] for each in opened.states]
        copies = opened.block.project(opened.block.carry_copies(states, allowed[None]))
        found.append(copies[0, places])
    return torch.stack(found)
