"""Which ways of learning a person's folder allows, why, by which commands, and what is missing for more."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lexiseg.data.inventory import Inventory


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way from what a person has to a model.

    Attributes:
        regime: What it learns from, in the words of the table "what do you have".
        why: Why it, and what it gives.
        commands: As they are typed.
        labels: Kinds of labels of ``lexiseg fit``; empty where another command does it.
    """

    regime: str
    why: str
    commands: tuple[str, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What is proposed for a folder.

    Attributes:
        best: The way to begin with.
        others: Further ways that the folder allows.
        missing: What is not there, and how to add it.
    """

    best: Way
    others: tuple[Way, ...]
    missing: tuple[str, ...]


def advise(found: Inventory, *, has_val: bool) -> Advice:
    """Choose among the regimes.

    Args:
        found: What the folder has.
        has_val: Whether there is, or will be, a val.txt with labelled images.
    """
    where = shlex.quote(str(found.path))
    if found.kind == "captions":
        return _advise_captions(where)
    if found.kind == "images":
        return _advise_images(found, where)
    if not found.is_folder:
        return _advise_published(found, where)
    return _advise_own(found, where, has_val=has_val)


def _advise_own(found: Inventory, where: str, *, has_val: bool) -> Advice:
    assert found.vocabulary is not None
    others: list[Way] = []
    total, masked = len(found.vocabulary), len(found.masked_classes)
    name = shlex.quote(f"{found.path.stem}-head")
    if found.labelled and (found.tagged or found.captioned) and found.unmasked_classes:
        kind = "tags" if found.tagged else "captions"
        best = _fit(
            where,
            name,
            "masks for some classes, image tags for the others",
            ("masks", kind),
            why=(
                f"{masked} of {total} classes have masks; {kind} say which images show the others, "
                "and patches are shared out among them"
            ),
        )
        if found.tagged and found.vocabulary.seen is not None and not found.refused:
            others.append(_simformer(where))
    elif found.labelled and found.unmasked_classes and found.vocabulary.seen is not None:
        best = _fit(
            where,
            name,
            "masks for some classes, only names for the others",
            ("masks", "names"),
            why=(
                f"{masked} of {total} classes have masks; of the others mini guesses what it can from their names"
            ),
        )
        others.append(_clip_to_seg(where))
    elif found.labelled and (found.tagged or found.captioned):
        kind = "tags" if found.tagged else "captions"
        best = _fit(
            where,
            name,
            "masks for all classes",
            ("masks", kind),
            why=(
                f"{len(found.labelled):,} images have masks of all {total} classes, {kind} add images without masks"
            ),
        )
    elif found.labelled:
        best = _fit(
            where,
            name,
            "masks for all classes",
            ("masks",),
            why=(f"{len(found.labelled):,} images have masks: a regression on frozen features needs no more"),
        )
        others.append(_clip_to_seg(where))
    elif found.tagged:
        best = _fit(
            where,
            name,
            "image tags",
            ("tags",),
            why=(
                "tags say which classes an image shows; patches are shared out among them, begun by what mini says"
            ),
        )
    elif found.captioned:
        best = _fit(
            where,
            name,
            "images with captions",
            ("captions",),
            why=("class names that captions speak of are taken as tags; patches are shared out among them"),
        )
        others.append(_captions(where))
    else:
        best = _names(found, where)
        others.append(_distil(where))
    if has_val or "val" in found.splits:
        others.append(
            Way(
                regime="a floor to compare with",
                why="what the embedded model knows without learning",
                commands=(f"lexiseg evaluate mini --data {where} --split val",),
            )
        )
    return Advice(best=best, others=tuple(others), missing=_missing(found))


def _fit(where: str, name: str, regime: str, labels: Sequence[str], *, why: str) -> Way:
    return Way(
        regime=regime,
        why=why,
        labels=tuple(labels),
        commands=(f"lexiseg fit {where} --use {','.join(labels)} --out {name}",),
    )


def _names(found: Inventory, where: str) -> Way:
    out = shlex.quote(f"{found.path.name}-segmented")
    return Way(
        regime="class names alone",
        why="without a label nothing can be learnt from your images that mini does not know; it segments by the names at once",
        commands=(f"lexiseg segment {where}/images --classes-file {where}/classes.txt --out {out}",),
    )


def _simformer(where: str) -> Way:
    return Way(
        regime="the same, by SimFormer (NeurIPS 2022)",
        why="a network on frozen features; longer, and says after a few steps how long",
        commands=(
            "lexiseg models --get dinov2-small",
            f"lexiseg train simformer/folder-frozen --data.path {where} --out simformer-run",
        ),
    )


def _clip_to_seg(where: str) -> Way:
    return Way(
        regime="the same, by CLIP-to-Seg",
        why="a network that takes any words afterwards; longer, and says after a few steps how long",
        commands=(f"lexiseg train clip-to-seg/folder --data.path {where} --out clip-to-seg-run",),
    )


def _captions(where: str) -> Way:
    return Way(
        regime="the same, by CoCu (NeurIPS 2023)",
        why="learns words from captions alone; wants many images and a GPU",
        commands=(
            f"lexiseg curate all {where} --out curated",
            f"lexiseg train cocu/folder --captions {where} --curation.folder curated --out cocu-run",
        ),
    )


def _distil(where: str) -> Way:
    return Way(
        regime="unlabelled photographs to distil",
        why="a plain, faster segmenter that imitates mini and takes any words",
        commands=(
            f"lexiseg distil --teacher mini --data {where} --freeze --size 224 --num-steps 300 --out distilled",
        ),
    )


def _advise_images(found: Inventory, where: str) -> Advice:
    words = Way(
        regime="photographs and words",
        why="mini segments by any words, without a label",
        commands=(f'lexiseg segment {where} --words "cat, sofa, floor" --out segmented',),
    )
    return Advice(best=words, others=(_distil(where),), missing=(_CLASSES, *_MASKS))


def _advise_captions(where: str) -> Advice:
    way = Way(
        regime="images with captions",
        why="check them, then learn words from them; wants many images and a GPU",
        commands=(
            f"lexiseg captions check {where}",
            f"lexiseg curate all {where} --out curated",
            f"lexiseg train cocu/folder --captions {where} --curation.folder curated --out cocu-run",
        ),
    )
    return Advice(best=way, others=(), missing=(_CLASSES, *_MASKS))


def _advise_published(found: Inventory, where: str) -> Advice:
    target = shlex.quote(f"{found.path.name}-folder")
    way = Way(
        regime=f"the data set {found.kind}",
        why="a copy of a published data set: check it, then write it as a folder of our own layout",
        commands=(
            f"lexiseg datasets check {found.kind} {where}",
            f"lexiseg datasets convert {found.kind} {where} --out {target}",
            f"lexiseg start {target}",
        ),
    )
    return Advice(best=way, others=(), missing=())


_CLASSES = "class names: write classes.txt, one a line, and put the images into images/; lexiseg fit then learns from them"
_MASKS = (
    "masks: index PNGs in labels/ with the stems of the images, 255 where nobody knows; even ten a class are worth it "
    "(lexiseg exchange FOLDER measures it, lexiseg next FOLDER chooses images)",
)

#: What can be missing: whether it is, and how to add it.
_WANTED: tuple[tuple[Callable[[Inventory], bool], str], ...] = (
    (lambda found: not found.labelled, _MASKS[0]),
    (
        lambda found: not found.tagged and bool(found.unmasked_classes or not found.labelled),
        "tags: tags.tsv, a line an image: stem, tab, the classes it shows with commas between",
    ),
    (
        lambda found: (
            bool(found.labelled)
            and found.vocabulary is not None
            and found.vocabulary.seen is None
            and bool(found.unmasked_classes)
        ),
        "seen.txt: the classes that have masks, one a line; without it void pixels teach nothing (--write writes it)",
    ),
    (
        lambda found: bool(found.labelled) and "val" not in found.splits,
        "val.txt: stems of labelled images to score, which are never learnt from (--write writes it)",
    ),
)


def _missing(found: Inventory) -> tuple[str, ...]:
    wanted = [text for is_missing, text in _WANTED if is_missing(found)]
    if found.refused:
        wanted.append(
            f"for SimFormer, masks or tags for every image, and tags that agree with the masks: {len(found.refused):,} images "
            f"do not have them, such as {found.refused[0]}"
        )
    return tuple(wanted)
