"""Which classes have masks: published divisions of classes into seen and unseen, as data.

Zero-shot segmentation calls them seen and unseen, weak-shot segmentation base and novel. Not to be
mixed up with the division of images into train and val, which belongs to a data set.
"""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, UnknownNameError
from lexiseg.core.vocabulary import Vocabulary, names_by_hash
from lexiseg.data.class_lists import packaged_vocabulary
from lexiseg.data.datasets import dataset_facts

#: Class list of this package that a data set's labels index, for the data sets that have splits.
_LISTS = {
    "voc20": "voc20",
    "voc21": "voc21",
    "context60": "context60",
    "coco-stuff164k": "coco_stuff171",
    "coco-stuff10k": "coco_stuff171",
    "ade20k-150": "ade20k150",
}


@dataclass(frozen=True, kw_only=True)
class Split:
    """A division of the classes of a data set.

    Attributes:
        name: Under which it is found.
        dataset: Name of the data set.
        names: Class names in label order.
        seen: Labels of the classes with masks.
        unseen: Labels of the others.
        order: The unseen labels in the published order; nested splits are prefixes of one another.
        source: Where it was published.
    """

    name: str
    dataset: str
    names: tuple[str, ...]
    seen: frozenset[int]
    unseen: frozenset[int]
    order: tuple[int, ...]
    source: str

    def apply(self, vocabulary: Vocabulary) -> Vocabulary:
        """Mark the seen classes of a vocabulary.

        Raises:
            DatasetError: The vocabulary has other classes than the split.
        """
        if vocabulary.names != self.names:
            pairs = zip(vocabulary.names, self.names, strict=False)
            differing = [f"{ours!r} for {theirs!r}" for ours, theirs in pairs if ours != theirs][:3]
            raise DatasetError(
                doing=f"applying the split {self.name}",
                found=f"{len(vocabulary)} classes" + (f", {', '.join(differing)}" if differing else ""),
                expected=f"the {len(self.names)} classes of {self.dataset}",
                fix=f"Use it with {self.dataset}, or choose another split.",
            )
        return dataclasses.replace(vocabulary, seen=self.seen)


@lru_cache(maxsize=1)
def split_names() -> tuple[str, ...]:
    """List the names of all splits."""
    folder = files("lexiseg.data").joinpath("class_splits")
    return tuple(sorted(file.name[:-4] for file in folder.iterdir() if file.name.endswith(".txt")))


def load_split(name: str) -> Split:
    """Read a split by name, e.g. ``zero-shot-voc`` or ``weak-shot-coco-stuff10k-s4``.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in split_names():
        raise UnknownNameError.of("split", name, split_names())
    text = files("lexiseg.data").joinpath("class_splits", f"{name}.txt").read_text(encoding="utf-8")
    facts, order = {}, []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line.removeprefix("#").partition(":")
            facts[key.strip()] = value.strip()
        else:
            order.append(int(line.split("\t")[0]))
    dataset = facts["data set"]
    names = packaged_vocabulary(_LISTS[dataset_facts(dataset).name]).names
    return Split(
        name=name,
        dataset=dataset,
        names=names,
        seen=frozenset(range(len(names))) - frozenset(order),
        unseen=frozenset(order),
        order=tuple(order),
        source=facts["source"],
    )


def with_unseen_share(vocabulary: Vocabulary, share: float) -> Vocabulary:
    """Mark a share of the classes as unseen, one at least, the first by ``names_by_hash``; never the background.

    Args:
        vocabulary: Of two classes or more beside the background.
        share: In (0, 1), of the classes beside the background.
    """
    names = [name for label, name in enumerate(vocabulary.names) if label != vocabulary.background]
    unseen = set(names_by_hash(names)[: min(max(1, round(share * len(names))), len(names) - 1)])
    seen = frozenset(label for label, name in enumerate(vocabulary.names) if name not in unseen)
    return dataclasses.replace(vocabulary, seen=seen)


def hide_classes(label_map: UInt16[np.ndarray, "H W"], labels: frozenset[int]) -> UInt16[np.ndarray, "H W"]:
    """Turn the pixels of some classes into void, as training on seen classes needs."""
    return np.where(np.isin(label_map, list(labels)), np.uint16(IGNORE_INDEX), label_map)
