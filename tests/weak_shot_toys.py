"""A toy data set for weak-shot training: squares of classes on a background, in memory."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.sample import Sample
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.labelled_dataset import LabelledDataset

NAMES = ("wall", "floor", "cup", "cat", "dog", "bird")
SEEN = frozenset({0, 1, 2})
CAT, DOG, BIRD = 3, 4, 5
VOCABULARY = Vocabulary(names=NAMES, seen=SEEN)
SIZE = 32


class ToyDataset(LabelledDataset):
    """Samples as they are given."""

    def __init__(self, samples: Sequence[Sample], vocabulary: Vocabulary = VOCABULARY) -> None:
        self.samples = list(samples)
        self.vocabulary = vocabulary
        self.path, self.split = Path("toy"), None
        self.stems = [sample.source.stem for sample in samples]

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(sample.image.tobytes())
            digest.update(b"" if sample.label_map is None else sample.label_map.tobytes())
        return digest.hexdigest()


def picture_of(
    name: str,
    *classes: int,
    tags: frozenset[int] | None = None,
    masks: bool = True,
    seed: int = 0,
    void: int = 2,
) -> Sample:
    """Make a picture whose columns are classes, with a few void rows at the bottom."""
    label_map = np.repeat(np.array(classes, np.uint16), SIZE // len(classes))[:SIZE]
    label_map = np.pad(label_map, (0, SIZE - len(label_map)), mode="edge")
    label_map = np.tile(label_map, (SIZE, 1))
    label_map[SIZE - void :] = IGNORE_INDEX
    noise = np.random.default_rng([seed, sum(map(ord, name))]).integers(0, 20, (SIZE, SIZE, 3))
    image = (np.minimum(label_map, 6)[..., None] * 30 + noise).astype(np.uint8)
    return Sample(image=image, source=Path(f"{name}.png"), label_map=label_map if masks else None, tags=tags)


def toy_samples() -> list[Sample]:
    """Give pictures in which each unseen class comes alone and together with another."""
    return [
        picture_of("a", 0, CAT),
        picture_of("b", 0, CAT, DOG),
        picture_of("c", 1, DOG),
        picture_of("d", 1, 2, DOG, BIRD),
        picture_of("e", 0, BIRD, 2),
        picture_of("f", 0, 1),
        picture_of("g", 0, BIRD, CAT, tags=frozenset({CAT, BIRD}), masks=False),
        picture_of("h", 2, CAT, BIRD),
    ]


def with_labels_permuted(sample: Sample) -> Sample:
    """Swap where unseen classes are, keeping which they are: rows are mixed among unseen pixels."""
    if sample.label_map is None:
        return sample
    label_map = sample.label_map.copy()
    hidden = (label_map != IGNORE_INDEX) & ~np.isin(label_map, list(SEEN))
    label_map[hidden] = np.random.default_rng(7).permutation(label_map[hidden])
    return dataclasses.replace(sample, label_map=label_map)
