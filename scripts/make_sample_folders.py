"""Make six sample folders, one for each kind of labels a person can have, from photographs with masks.

    python scripts/make_sample_folders.py ../shared/data/coco-things-free samples
    lexiseg start samples/tags

Masks of all classes; masks of two classes in three, with tags or only names for the others; tags alone; captions that
are made from the masks; names alone, which are also unlabelled photographs to distil. A third of the photographs is
scored: listed in val.txt, with all of its masks, and never learnt from. Photographs and hidden classes are drawn once.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.folder import FolderDataset

REGIMES = ("masks", "masks-and-tags", "masks-and-names", "tags", "captions", "names")
#: A class shows in an image, for tags and captions, from this share of its pixels on.
_SHOWN = 0.005


def drawn(source: FolderDataset, num: int | None = None) -> list[int]:
    """Return the photographs of sample folders in their order, all or the first ``num``; the first third is scored."""
    return np.random.default_rng(0).permutation(len(source)).tolist()[:num]


def write_folder(source: FolderDataset, out: Path, regime: str, order: Sequence[int]) -> Path:
    """Write a sample folder; the photographs of val.txt keep all masks."""
    shutil.rmtree(out, ignore_errors=True)
    for part in ("images", "labels"):
        (out / part).mkdir(parents=True)
    names, num_val = source.vocabulary.names, len(order) // 3
    shutil.copy(source.path / "classes.txt", out / "classes.txt")
    hidden = set(np.random.default_rng(1).permutation(len(names))[: len(names) // 3].tolist())
    with_masks, is_partial = regime.startswith("masks"), regime.startswith("masks-and")
    tags, captions = [], []
    for place, index in enumerate(order):
        path, stem = source.image_path(index), source.stems[index]
        shutil.copy(path, out / "images" / path.name)
        labels = source.read_label_map(index)
        assert labels is not None
        shares = np.bincount(labels.ravel(), minlength=IGNORE_INDEX + 1)[: len(names)] / labels.size
        shown = [label for label in np.argsort(-shares).tolist() if shares[label] > _SHOWN]
        is_val = place < num_val
        if not is_val and is_partial:
            labels = np.where(np.isin(labels, list(hidden)), IGNORE_INDEX, labels).astype(np.uint16)
        if is_val or with_masks:
            Image.fromarray(np.where(labels == IGNORE_INDEX, 255, labels).astype(np.uint8)).save(
                out / "labels" / f"{stem}.png"
            )
        if not is_val and regime in ("masks-and-tags", "tags"):
            tags.append(f"{stem}\t{', '.join(names[label] for label in shown)}\n")
        if not is_val and regime == "captions" and shown:
            captions.append(f"{stem}\tA photograph of {' and '.join(names[label] for label in shown[:3])}.\n")
    (out / "val.txt").write_text("".join(f"{source.stems[index]}\n" for index in order[:num_val]))
    (out / "train.txt").write_text("".join(f"{source.stems[index]}\n" for index in order[num_val:]))
    if is_partial:
        (out / "seen.txt").write_text(
            "".join(f"{name}\n" for label, name in enumerate(names) if label not in hidden)
        )
    for file, lines in (("tags.tsv", tags), ("captions.tsv", captions)):
        if lines:
            (out / file).write_text("".join(lines))
    return out


def main() -> None:
    """Read the command line and write the folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a folder of our own layout with masks")
    parser.add_argument(
        "out", type=Path, help="gets a folder a regime; those that are there are written anew"
    )
    parser.add_argument("--num", type=int, help="so many photographs instead of all")
    given = parser.parse_args()
    source = FolderDataset(given.source, labels="only")
    for regime in REGIMES:
        print(write_folder(source, given.out / regime, regime, drawn(source, given.num)))


if __name__ == "__main__":
    main()
