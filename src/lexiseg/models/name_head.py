"""NameHead: what a patch may be among names that were seen with masks, by ridge regression from a classifier's maps.

Hoerl and Kennard, "Ridge Regression", Technometrics 1970: one closed-form solution, no step, no seed. A patch is
described by two maps of the network, each patch a vector of length ``MAP_LENGTH``, by colour, texture and
height (``ops.scene_prior.appearance``) and by its place. The head's scores go through a softmax in which "none of
these names" takes part with a constant score. Temperature and that constant are fitted where some names were left out
of the training and their patches have to be "none" (``benchmarks/accuracy/mini_head.py``): the posterior then
keeps back what it does not know.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from lexiseg.core.errors import CheckpointError
from lexiseg.core.json_text import decode_json
from lexiseg.ops.patch_places import patch_places, whole_extents
from lexiseg.ops.scene_prior import appearance

#: Length of a patch's vector in each map of the network: it settles how much the ridge shrinks them.
MAP_LENGTH = 20.0

_ABOUT = "about"  # one entry: safetensors writes several in no fixed order


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkMaps:
    """What the layers of a classifier say of an image, on their own grids.

    Attributes:
        middle: The last map at 16 pixels a patch.
        last: The map that the classifier's last layer reads.
    """

    middle: Float[Tensor, "B C h w"]
    last: Float[Tensor, "B D g k"]


class NameHead(nn.Module):
    """Maps of a classifier to a posterior over known names.

    Args:
        names: Names in the order of the columns of ``weight``: things, then stuff.
        num_things: How many of them are things, with a shape of their own.
        weight: From the features of a patch to one score a name.
        temperature: Divides the scores before the softmax.
        none_score: Score of "none of these names".
    """

    weight: Tensor

    def __init__(
        self,
        names: Sequence[str],
        weight: Float[Tensor, "F K"],
        *,
        num_things: int,
        temperature: float,
        none_score: float,
    ) -> None:
        super().__init__()
        assert weight.shape[1] == len(names) >= num_things, "one column a name"
        self.names = tuple(names)
        self.num_things = num_things
        self.temperature = temperature
        self.none_score = none_score
        self.register_buffer("weight", weight.float(), persistent=False)

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        maps: NetworkMaps,
        grid: tuple[int, int],
        extents: Float[Tensor, "B 4"] | None = None,
    ) -> Float[Tensor, "B N K"]:
        """Return the posterior over the names at each patch of ``grid``; what is missing to 1 is "none of them".

        Args:
            images: RGB in [0, 1], as the network saw them.
            maps: What the network said of them.
            grid: Patches of the result; the images' sides are multiples of it.
            extents: Where each lies in a larger image (``ops.patch_places``); None for whole images.
        """
        return self.posterior(patch_features(images, maps, grid, extents) @ self.weight)

    def posterior(self, scores: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
        """Turn the regression's scores into the posterior without its "none"."""
        none = scores.new_full((*scores.shape[:-1], 1), self.none_score)
        return (torch.cat([scores, none], dim=-1) / self.temperature).softmax(dim=-1)[..., :-1]


def patch_features(
    images: Float[Tensor, "B 3 H W"],
    maps: NetworkMaps,
    grid: tuple[int, int],
    extents: Float[Tensor, "B 4"] | None = None,
) -> Float[Tensor, "B N F"]:
    """Describe each patch of ``grid``: both maps at equal length, appearance, place, and a constant.

    Where the place is not known, its powers have their means over an image: what the regression makes of it is then the mean
    over all places.
    """
    parts = []
    for part in (maps.middle, maps.last):
        if part.shape[2:] != grid:
            part = interpolate(part, size=grid, mode="bilinear")
        parts.append(MAP_LENGTH * normalize(rearrange(part, "b d h w -> b (h w) d"), dim=-1))
    extents = whole_extents(len(images)) if extents is None else extents
    look = appearance(images, images.shape[2] // grid[0], extents)
    height, across = patch_places(extents.to(look), grid)
    aside = (2 * across - 1).abs()
    powers = [(aside, 1 / 2), (aside.square(), 1 / 3), (height.square(), 1 / 3)]
    place = [power.masked_fill(power.isnan(), mean) for power, mean in powers]
    look = look.masked_fill(look.isnan(), 1 / 2)
    return torch.cat([*parts, look, torch.stack([*place, torch.ones_like(aside)], dim=-1)], dim=-1)


def pack_name_head(
    names: Sequence[str],
    weight: Float32[Tensor, "F K"],
    *,
    num_things: int,
    temperature: float,
    none_score: float,
) -> bytes:
    """Return the content of a head's file: equal arguments give equal bytes. Weights are kept in half precision."""
    about = {
        "names": list(names),
        "num_things": num_things,
        "temperature": temperature,
        "none_score": none_score,
    }
    return save({"weight": weight.half().contiguous()}, {_ABOUT: json.dumps(about)})


def load_name_head(path: Path) -> NameHead:
    """Load a head.

    Raises:
        CheckpointError: It is no head.
    """
    content = path.read_bytes()
    try:
        weight = load(content)["weight"]
        header = decode_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = decode_json(header["__metadata__"][_ABOUT])
        return NameHead(
            about["names"],
            weight,
            num_things=about["num_things"],
            temperature=about["temperature"],
            none_score=about["none_score"],
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            doing=f"reading {path}",
            found=f"no head of known names ({error})",
            expected="what pack_name_head wrote",
            fix="Build it again: python benchmarks/accuracy/mini_head.py.",
        ) from error
