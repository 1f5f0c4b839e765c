"""Why each region got its label: its ranking, the runner-up, and the reference pictures nearest to it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from lexiseg.core.vocabulary import Vocabulary, Words
from lexiseg.data.images import ImageSource
from lexiseg.inference.predict import EncodedImage
from lexiseg.methods.rim.segmenter import RIM
from lexiseg.methods.rim.vocabulary_references import BACKGROUND

#: Reference pictures shown for a region.
NUM_NEAREST = 3


@dataclass(frozen=True, kw_only=True)
class NearReference:
    """A reference picture.

    Attributes:
        class_name: The class it stands for.
        origin: The file or seed it came from.
        cosine: Its similarity to the region.
        thumbnail: A small JPEG file.
    """

    class_name: str
    origin: str
    cosine: float
    thumbnail: bytes


@dataclass(frozen=True, kw_only=True)
class RankedClass:
    """A candidate of a region.

    Attributes:
        name: The class.
        cosine: Similarity of the region to its nearest reference.
        divergence: Distance of the two rankings; the smallest wins.
    """

    name: str
    cosine: float
    divergence: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionExplanation:
    """What decided one region.

    Attributes:
        mask: The region.
        ranking: Its candidates, the winner first, then the runner-up.
        best_by_cosine: The class that would have won without relations.
        nearest: The nearest reference pictures of the vocabulary.
    """

    mask: Bool[np.ndarray, "H W"]
    ranking: tuple[RankedClass, ...]
    best_by_cosine: str
    nearest: tuple[NearReference, ...]

    @property
    def label(self) -> str:
        """The winner."""
        return self.ranking[0].name

    @property
    def runner_up(self) -> str | None:
        """The class that came second; None where there was no other."""
        return self.ranking[1].name if len(self.ranking) > 1 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """A picture and its regions, the largest first."""

    image: UInt8[np.ndarray, "H W 3"]
    regions: tuple[RegionExplanation, ...]


def explain(model: RIM, image: ImageSource | EncodedImage, words: Words) -> Explanation:
    """Tell, for every region of a picture, how its label came about.

    Args:
        model: The segmenter.
        image: What ``segment`` takes.
        words: The vocabulary.

    Raises:
        VocabularyError: The bank has none of the words.
        ImageError: The picture cannot be read.
    """
    vocabulary = Vocabulary.parse(words)
    model.check_vocabulary(vocabulary)
    encoded = image if isinstance(image, EncodedImage) else model.encode(image)
    chosen = model.competitors(vocabulary.all_names())
    regions = model.regions(encoded)
    if not len(regions) or not len(chosen.labels):
        return Explanation(image=encoded.image, regions=())
    features = model.region_features(encoded)
    matched, cosines = model.match(features, chosen)
    names = ["background" if row == BACKGROUND else model.bank.names[row] for row in chosen.bank_rows]
    known = torch.isin(model.bank.picture_classes, torch.tensor(chosen.bank_rows)).nonzero()[:, 0]
    likeness = features @ model.bank.features[known].float().T
    order = np.argsort([-np.count_nonzero(mask) for mask in regions], kind="stable")
    found = []
    for region in order.tolist():
        candidates, apart = matched.candidates[region], matched.divergences[region]
        ranking = tuple(
            RankedClass(
                name=names[int(candidates[place])],
                cosine=float(cosines[region, candidates[place]]),
                divergence=float(apart[place]),
            )
            for place in apart.argsort(stable=True).tolist()
        )
        top = likeness[region].topk(min(NUM_NEAREST, len(known)))
        pictures = known[top.indices].tolist()
        found.append(
            RegionExplanation(
                mask=regions[region],
                ranking=ranking,
                best_by_cosine=names[int(matched.best_by_score[region])],
                nearest=tuple(
                    _near(model, picture, float(c)) for picture, c in zip(pictures, top.values, strict=True)
                ),
            )
        )
    return Explanation(image=encoded.image, regions=tuple(found))


def _near(model: RIM, picture: int, cosine: float) -> NearReference:
    bank = model.bank
    return NearReference(
        class_name=bank.names[int(bank.picture_classes[picture])],
        origin=bank.origins[picture],
        cosine=cosine,
        thumbnail=bank.thumbnail(picture),
    )
