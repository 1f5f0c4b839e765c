"""What a student is taught by: dense features, image vectors and texts in one space."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.inference.segmenter import Segmenter

#: Class names and the name of a prompt set to vectors in the space of a teacher, one row each, of any length: all of
#: a teacher that a trained student needs.
TextSpace = Callable[[Sequence[str], str], Tensor]
#: Gives a space when it is first asked for: a student that is loaded needs no teacher until it gets a word.
OpenTextSpace = Callable[[], TextSpace]


class Teacher(ABC):
    """Looks at images. Never trained; no part of the student's weights.

    Attributes:
        width: Length of a vector.
        stride: Pixels per dense feature; sides of images are multiples of it.
        fingerprint: Hash of what it answers by.
    """

    width: int
    stride: int
    fingerprint: str

    @abstractmethod
    def look(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return dense features and image vectors (``global_token``) of RGB images in [0, 1], without gradient."""


class SegmenterTeacher(Teacher):
    """Any segmenter whose scores are inner products of patches and texts: CLIP, SigLIP, mini.

    Where it has no vector of the image, that is the mean of its patches.

    Args:
        segmenter: Is moved to the device of the images it looks at.
        fingerprint: Hash of its weights and settings.
        size: Side of the squares it looks at; None for images as they come.
        remembers: Keep what it says of an image on disk.
        dimensions: Of a shorter space that all vectors are projected to, see ``shorten``; None for its own.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        fingerprint: str,
        *,
        size: int | None = None,
        remembers: bool = False,
        dimensions: int | None = None,
    ) -> None:
        self.size, self.dimensions = size, dimensions
        encoder = _SegmenterEncoder(segmenter)
        self.encoder = CachedEncoder(encoder, fingerprint=fingerprint) if remembers else encoder.eval()
        self.fingerprint = fingerprint
        self.stride = segmenter.stride
        side = 4 * self.stride
        with torch.no_grad():
            found = segmenter.encode_images(torch.full((1, 3, side, side), 0.5)).tokens.shape[-1]
        self.width = found if dimensions is None else dimensions

    @torch.no_grad()
    def look(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return dense features and image vectors."""
        if self.size is not None and images.shape[-1] != self.size:
            images = interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        features = self.encoder.to(images.device)(images)
        vectors = features.global_token
        if vectors is None:
            vectors = reduce(features.tokens, "b n d -> b d", "mean")
        return PatchFeatures(
            tokens=shorten(features.tokens, self.dimensions),
            grid=features.grid,
            stride=features.stride,
            global_token=shorten(vectors, self.dimensions),
        )


class _SegmenterEncoder(ImageEncoder):
    """The image side of a segmenter."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter, self.stride = segmenter.requires_grad_(False), segmenter.stride

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        return self.segmenter.encode_images(images)


def shorten(vectors: Float[Tensor, "*rows D"], dimensions: int | None) -> Float[Tensor, "*rows E"]:
    """Return a random projection of vectors, the same for equal lengths; cosines move by about ``dimensions ** -0.5``.

    A student's head and everything it is compared with are as wide as the space, and mini's has a thousand
    dimensions. Johnson and Lindenstrauss, "Extensions of Lipschitz Mappings into a Hilbert Space", 1984.
    """
    if dimensions is None:
        return vectors
    generator = torch.Generator().manual_seed(vectors.shape[-1])
    matrix = torch.randn(vectors.shape[-1], dimensions, generator=generator) / dimensions**0.5
    return vectors @ matrix.to(vectors)


def unit_texts(space: TextSpace, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
    """Embed names as unit vectors; a name that the space knows nothing of stays zero."""
    return normalize(space(names, prompts).float(), dim=-1)
