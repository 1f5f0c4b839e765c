"""The frozen networks that a head on frozen features reads, described patch by patch."""

import hashlib
import json
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.inference.segmenter import Segmenter
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.models import dinov2_small
from lexiseg.models.backbones import Dinov2Pyramid, TinyPyramid
from lexiseg.models.checkpoint import fingerprint
from lexiseg.recipes.backbone import EFFICIENTNET, load_backbone
from lexiseg.recipes.mini import build_mini

#: Length of a patch's vector: it settles how much the ridge shrinks features beside place and mini's probabilities.
_LENGTH = 20.0
#: Divides mini's scores before the softmax that makes probabilities of them.
_TEMPERATURE = 0.05
#: The maps of a pyramid from this stride on are read.
_FINEST = 14


def default_backbone() -> str:
    """Return the best frozen backbone that is on this machine: dinov2-small, else efficientnet-lite0."""
    return dinov2_small.NAME if dinov2_small.is_present() else EFFICIENTNET


class PatchDescriber(ImageEncoder):
    """A frozen backbone's patches, their place, and what mini says of the names.

    Args:
        backbone: Frozen.
        prior: Gives the scores of the names; None for none.
        vocabulary: The names.
    """

    names: Tensor

    def __init__(self, backbone: PyramidBackbone, prior: Segmenter | None, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self._levels = (
            (1,)
            if isinstance(backbone, Dinov2Pyramid)  # its other maps are resized copies
            else tuple(at for at, stride in enumerate(backbone.strides) if stride >= _FINEST)
            or (len(backbone.strides) - 1,)
        )
        # A vision transformer sees half of what mini sees: its tokens need fewer pixels, and cost more.
        self._shrunk = 2 if isinstance(backbone, Dinov2Pyramid) else 1
        self.stride = self._shrunk * backbone.strides[self._levels[0]]
        #: How many of the first numbers of a token say which patches are alike: a DINOv2's do, others' do not.
        self.num_alike = backbone.channels[self._levels[0]] if isinstance(backbone, Dinov2Pyramid) else 0
        self.prior = prior
        if prior is not None:
            names = prior.name_classes(vocabulary, prior.settings.changed(background="none"))
            self.register_buffer("names", names.embeddings)
            self._owner = torch.tensor(names.owner)
            self._num_classes = len(vocabulary)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Describe the patches of RGB images in [0, 1] whose sides are multiples of ``stride``.

        Returns:
            Tokens: the backbone's maps at equal length, place, and in the end the prior of every class.
        """
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        seen = images
        if self._shrunk > 1:
            size = [side // self._shrunk for side in images.shape[2:]]
            seen = interpolate(images, size=size, mode="bilinear", antialias=True)
        maps = self.backbone(seen)
        if isinstance(
            self.backbone, Dinov2Pyramid
        ):  # what it adds on the right and below is no patch of the image
            maps = [level[:, :, : grid[0], : grid[1]] for level in maps]
        parts = [_LENGTH * _tokens(maps[level], grid) for level in self._levels]
        parts.append(_place(grid).to(images).expand(images.shape[0], -1, -1))  # len would fix a graph's batch
        if self.prior is not None:
            parts.append(self._probabilities(images, grid))
        return PatchFeatures(tokens=torch.cat(parts, dim=-1), grid=grid, stride=self.stride)

    def _probabilities(
        self, images: Float[Tensor, "B 3 H W"], grid: tuple[int, int]
    ) -> Float[Tensor, "B N K"]:
        """Return the softmax of mini's scores over the classes, of each class its best name."""
        assert self.prior is not None
        step = self.prior.stride
        short = self.prior.settings.short_side / min(images.shape[2:])
        size = [max(1, round(side * short / step)) * step for side in images.shape[2:]]
        seen = interpolate(images, size=size, mode="bilinear", antialias=True)
        scores = self.prior.class_scores(self.prior.encode_images(seen), self.names)
        of_class = scores.new_full((len(scores), self._num_classes, *scores.shape[2:]), -torch.inf)
        owner = self._owner[None, :, None, None].expand_as(scores)
        of_class = of_class.scatter_reduce(1, owner, scores, "amax")
        probable = (of_class / _TEMPERATURE).softmax(dim=1)
        return rearrange(interpolate(probable, size=grid, mode="bilinear"), "b k h w -> b (h w) k")


def open_describer(settings: FrozenHeadSettings, vocabulary: Vocabulary) -> CachedEncoder:
    """Load what describes patches; features of every image are kept on disk.

    Raises:
        MissingWeightsError: The weights of the backbone or of mini are not here.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the tiny backbone is of random numbers, the same ones every time
        backbone = load_backbone(settings.backbone, build_tiny=_tiny)
    # Without the names that mini learnt from masks: whoever fits has labels of their own, perhaps of the same photographs.
    prior = None if settings.prior == "none" else build_mini(ConSESettings(head="none", smooth="none"))
    describer = PatchDescriber(backbone, prior, vocabulary).requires_grad_(False).eval()
    said: Sequence[object] = ()
    if prior is not None:
        said = (json.dumps(vocabulary.to_json()), json.dumps(prior.method_settings, default=str))
    digest = hashlib.sha256(repr((fingerprint(backbone, settings.backbone), *said)).encode())
    return CachedEncoder(describer, fingerprint=digest.hexdigest())


def num_alike(describer: CachedEncoder) -> int:
    """Return how many of the first features of what ``open_describer`` opened say which patches are alike."""
    assert isinstance(describer.encoder, PatchDescriber)
    return describer.encoder.num_alike


def _tiny() -> TinyPyramid:
    return TinyPyramid((32,), first_stride=8)


def _tokens(maps: Float[Tensor, "B D h w"], grid: tuple[int, int]) -> Float[Tensor, "B N D"]:
    if maps.shape[2:] != grid:
        maps = interpolate(maps, size=grid, mode="bilinear")
    return normalize(rearrange(maps, "b d h w -> b (h w) d"), dim=-1)


def _place(grid: tuple[int, int]) -> Float[Tensor, "1 N 5"]:
    """Return height and distance from the middle, their squares, and a constant, of each patch."""
    height, aside = torch.meshgrid(
        (torch.arange(grid[0]) + 0.5) / grid[0],
        (2 * (torch.arange(grid[1]) + 0.5) / grid[1] - 1).abs(),
        indexing="ij",
    )
    place = torch.stack([height, aside, height.square(), aside.square(), torch.ones_like(height)], dim=-1)
    return rearrange(place, "h w d -> 1 (h w) d")
