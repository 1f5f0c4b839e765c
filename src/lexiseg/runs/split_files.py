"""Split files for a folder that has none: which labelled images are scored, which classes have masks."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lexiseg.core.atomic_write import atomic_path
from lexiseg.data.inventory import Inventory

#: Of the labelled images, one in so many is scored.
_SCORED = 4
#: With fewer labelled images there is no score worth its name.
LEAST_LABELLED = 8


def propose_splits(found: Inventory) -> dict[str, list[str]]:
    """Return the lists that a folder lacks, by file name: train.txt and val.txt, and seen.txt where it fits.

    Every fourth labelled image is scored, by a hash of its stem; all others, with or without labels, are learnt from. The
    classes that label files were found to show are seen, where these are some and not all.
    """
    lists: dict[str, list[str]] = {}
    if "val" not in found.splits and "train" not in found.splits and len(found.labelled) >= LEAST_LABELLED:
        order = sorted(found.labelled, key=lambda stem: hashlib.sha256(stem.encode()).digest())
        scored = set(order[: len(order) // _SCORED])
        lists["val.txt"] = sorted(scored)
        lists["train.txt"] = [stem for stem in found.images if stem not in scored]
    vocabulary = found.vocabulary
    if vocabulary is not None and vocabulary.seen is None and 0 < len(found.shown) < len(vocabulary):
        lists["seen.txt"] = [vocabulary.names[label] for label in sorted(found.shown)]
    return lists


def write_lists(folder: Path, lists: dict[str, list[str]]) -> list[Path]:
    """Write lists, one entry a line; what is there already stays.

    Returns:
        What was written.

    Raises:
        OutputError: The folder cannot be written.
    """
    written = []
    for name, lines in lists.items():
        if not (folder / name).exists():
            with atomic_path(folder / name) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            written.append(folder / name)
    return written


def recipe_text(folder: Path, kinds: Sequence[str], backbone: str, why: str) -> str:
    """Return the commented options of ``lexiseg fit`` for a folder, as ``--config`` reads them."""
    use = ",".join(kinds)
    return f"""# Options of lexiseg fit for {folder.name}: lexiseg fit FOLDER --config {folder.name}/lexiseg.toml
# What stands on the command line comes first. {why}

[fit]
out = "{folder.name}-head"    # the model's folder
use = "{use}"    # what is learnt from: masks, tags, captions, names
backbone = "{backbone}"    # the frozen network: dinov2-small, or efficientnet-lite0, which needs no download
prior = "mini"    # what class names say before anything is learnt; none for names that are no English words
penalty = 1000.0    # more keeps closer to the prior; less believes few labels
"""
