"""GroupViT's networks as encoders: images to segments with soft masks, texts to vectors of the same space."""

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.features import PatchFeatures, Segments
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.layers.grouping import hard_assignment, soft_assignment
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.groupvit import GroupViTNetwork
from lexiseg.models.pixel_normalisation import PixelNormalisation
from lexiseg.models.text_tokens import pad


def segment_shares(
    assignments: Sequence[Float[Tensor, "B _ _"]], *, hard: bool = False
) -> Float[Tensor, "B N G"]:
    """Compute the share of every patch in every last segment: the assignments, multiplied.

    Args:
        assignments: Logits of each grouping block, first to last.
        hard: Follow the choices that training makes; at test time soft shares give smoother masks.
    """
    shares = None
    for logits in assignments:
        assign = hard_assignment if hard else soft_assignment
        level = rearrange(assign(logits.float()), "b g n -> b n g")
        shares = level if shares is None else shares @ level
    assert shares is not None, "a network without grouping blocks"
    return shares


class GroupViTImageEncoder(ImageEncoder):
    """Images to segments with soft masks, in the space of the text embeddings.

    A patch token is the mixture of its segments' vectors; the global token is the image's. None is normalised.

    Args:
        network: Its image part is taken.
        normalisation: The checkpoint's pixel statistics.
        hard_maps: See ``segment_shares``.
    """

    def __init__(
        self, network: GroupViTNetwork, normalisation: PixelNormalisation, *, hard_maps: bool = False
    ) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = network.vision_model, network.visual_projection
        self.normalisation = normalisation
        self.hard_maps = hard_maps
        self.shape = network.shape
        self.stride = network.shape.patch

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        segments, assignments, grid = self.vision_model(self.normalisation(images))
        shares = segment_shares(assignments, hard=self.hard_maps)
        vectors = self.visual_projection(segments).float()
        return PatchFeatures(
            tokens=shares @ vectors,
            grid=grid,
            stride=self.stride,
            global_token=self.visual_projection(segments.mean(dim=1)).float(),
            segments=Segments(shares=shares, embeddings=vectors),
        )

    def pooled(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Encode images as training compares them: the mean of the segments, before the projection."""
        return self.vision_model(self.normalisation(images))[0].mean(dim=1)


class GroupViTTextEncoder(TextEncoder):
    """Texts to vectors of the shared space, not normalised.

    Args:
        network: Its text part is taken.
        tokenizer: From texts to the ids of each, start and end included.
        identity: Text that changes when the tokenizer does.
        unknown_share: From texts to the share of tokens of each that the tokenizer does not know.
    """

    def __init__(
        self,
        network: GroupViTNetwork,
        tokenizer: Callable[[Sequence[str]], list[list[int]]],
        identity: str,
        *,
        unknown_share: Callable[[Sequence[str]], list[float]],
    ) -> None:
        super().__init__()
        self.text_model, self.text_projection = network.text_model, network.text_projection
        self.tokenizer, self.identity = tokenizer, identity
        self._unknown_share = unknown_share
        self._fingerprint: tuple[tuple[int, ...], str] | None = None

    @property
    def fingerprint(self) -> str:  # type: ignore[override]  # weights may have been trained since
        """Content hash of the present weights and the tokenizer."""
        state = tuple(number for value in self.parameters() for number in (id(value), value._version))
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = state, fingerprint(self, "groupvit", self.identity)
        return self._fingerprint[1]

    def train(self, mode: bool = True) -> "GroupViTTextEncoder":
        """Switch between training and evaluation; fused optimisers change weights without leaving a trace."""
        self._fingerprint = None
        return super().train(mode)

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Encode texts, one row each.

        Raises:
            VocabularyError: A text has more tokens than the model reads, and the tokenizer does not cut it.
        """
        return self.text_projection(self.pooled(texts)).float()

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Return the share of each text's tokens that are unknown, in [0, 1]."""
        return self._unknown_share(texts)

    def pooled(self, texts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Encode texts as training compares them: the state of the last token, before the projection."""
        encoded = self.tokenizer(texts)
        lengths = torch.tensor([len(ids) for ids in encoded])
        # A token sees only those before it, so what follows the end token changes nothing.
        ids = pad(encoded, pad_id=0, length=int(lengths.max()))
        device = next(self.parameters()).device
        return self.text_model(ids.to(device), lengths.to(device))
