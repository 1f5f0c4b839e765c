"""Look into CLIP-to-Seg. Run from the repository root.

What is mined where no mask is, in two scenes together, group by group; nothing is trained for it::

    python benchmarks/accuracy/clip_to_seg.py mined --out docs/assets

The same on two photographs, with mini as the teacher and no label at all::

    python benchmarks/accuracy/clip_to_seg.py mined --photographs ONE.jpg OTHER.jpg --out docs/assets

Label maps beside the truth, of trained runs (``lexiseg train clip-to-seg/scenes --out …``)::

    python benchmarks/accuracy/clip_to_seg.py results --runs NAME=RUN [NAME=RUN ...] --out docs/assets

They write ``clip-to-seg-mined.png``, ``clip-to-seg-mined-photographs.jpg`` and ``clip-to-seg-results.png``. Scenes are
not chosen by what comes out: they are the first that show what is to be shown.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from image_sheet import Entry, Tile, draw_sheet, enlarged, outlined, painted, save_sheet, striped

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.drawing import VOID_COLOUR, class_colours
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.images import load_image
from lexiseg.data.partial_labels.distillation_batches import fit_square
from lexiseg.methods.clip_to_seg.fused_labels import GridLabels, at_centres, fuse_batch
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.methods.clip_to_seg.settings import ClipToSegSettings
from lexiseg.recipes.clip_to_seg import ClipToSegRecipe, folder, scenes
from lexiseg.recipes.teachers import open_features, open_teacher
from lexiseg.runs.folder import load_run, read_recipe

SIDE = 192
#: Groups that are drawn each for itself, the largest first.
NUM_GROUPS = 6
NUM_RESULTS = 5
_PALE = 0.35


def mined(labels: np.ndarray, maps: torch.Tensor, num_named: int, method: ClipToSegSettings) -> np.ndarray:
    """Mine and fuse as a training step does; return labels at the size of ``labels``."""
    grid = torch.from_numpy(labels.astype(np.int64))
    padding = torch.zeros_like(grid, dtype=torch.bool)
    texts = torch.zeros(num_named, maps.shape[1])
    return fuse_batch(GridLabels(grid, padding, None), maps, texts, num_named, method).labels.numpy()


def largest(fused: np.ndarray, first: int) -> list[int]:
    """List mined labels, the largest first."""
    found, sizes = np.unique(fused[(fused >= first) & (fused != IGNORE_INDEX)], return_counts=True)
    return found[np.argsort(-sizes, kind="stable")][:NUM_GROUPS].tolist()


def shown_alone(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fade everything but a mask, and outline it."""
    drawn = image.copy()
    drawn[~mask] = (255 - _PALE * (255 - drawn[~mask].astype(float))).astype(np.uint8)
    return outlined(drawn, mask, (230, 30, 60))


def share_text(group: np.ndarray, truth: np.ndarray, vocabulary: Vocabulary) -> str:
    """Say which class most of a group is, by the truth, which mining does not see."""
    named = truth[group]
    labels, sizes = np.unique(named[named < len(vocabulary)], return_counts=True)
    if not len(labels):
        return "void"
    best = int(sizes.argmax())
    return f"{vocabulary.names[labels[best]]} {sizes[best] / max(1, len(named)):.0%}"


def draw_mined_scenes(out: Path) -> None:
    """Draw two scenes, what training sees of their labels, and every mined group in both."""
    recipe = scenes()
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, num_scenes=200, truth=True))
    vocabulary = recipe.data.vocabulary()
    assert vocabulary.seen is not None
    unseen = [label for label in range(len(vocabulary)) if label not in vocabulary.seen]
    images = recipe.data.training_images(0)
    view = recipe.data.masked_labels(0)
    truths = [images[index].label_map for index in range(len(images))]
    pair = _pair_with_a_shared_class(truths, unseen)
    features = open_features(recipe.teacher, images, recipe.data.scenes)
    assert features is not None
    maps = torch.from_numpy(np.stack([features.read(index, flipped=False)[0] for index in pair]))
    labels = np.stack([view[index].label_map for index in pair])
    fused = mined(labels, maps, len(view.names), recipe.method)
    pixels = [enlarged(images[index].image, SIDE) for index in pair]
    seen_labels = sorted(vocabulary.seen)
    rows = []
    for place, index in enumerate(pair):
        truth = truths[index]
        full = np.full(labels[place].shape, IGNORE_INDEX, np.uint16)
        known = labels[place] < len(seen_labels)
        full[known] = np.array(seen_labels, np.uint16)[labels[place][known]]
        first = place == 0
        row = [
            Tile(pixels=pixels[place], above="scene" if first else ""),
            Tile(pixels=_drawn(truth, vocabulary, unseen), above="truth" if first else ""),
            Tile(pixels=_drawn(full, vocabulary, unseen), above="what training sees" if first else ""),
        ]
        for number, group in enumerate(largest(fused, len(view.names))):
            mask = fused[place] == group
            row.append(
                Tile(
                    pixels=shown_alone(pixels[place], enlarged(mask, SIDE)),
                    above=f"nameless {number + 1}" if first else "",
                    below=share_text(mask, truth, vocabulary) if mask.any() else "not here",
                )
            )
        rows.append(row)
    present = sorted({int(label) for index in pair for label in np.unique(truths[index])})
    notes = (
        "Two training scenes that are mined together. Grey: no label. Striped: classes without masks, which training"
        " does not know the names of.",
        "Below each group: the class that most of it shows, and its share, by the truth. Made-up teacher, windows"
        " of 3 and 7, merged from a cosine of 0.8 on, one round of k-means.",
    )
    sheet = draw_sheet(rows, legend=_legend(present, vocabulary, unseen), notes=notes)
    save_sheet(sheet, out / "clip-to-seg-mined.png")


def draw_mined_photographs(files: list[Path], out: Path) -> None:
    """Draw two photographs and every group that is mined from them without any label."""
    recipe = folder()
    size = recipe.data.size
    void = [np.full(load_image(file).shape[:2], IGNORE_INDEX, np.uint16) for file in files]
    squares = [
        fit_square(load_image(file), labels, size, flipped=False)
        for file, labels in zip(files, void, strict=True)
    ]
    teacher = open_teacher(dataclasses.replace(recipe.teacher, remembers=False))
    batch = torch.from_numpy(np.stack([square.image for square in squares])).permute(0, 3, 1, 2) / 255
    maps = teacher.look(batch).as_map().float()
    side = size // 4
    labels = torch.full((len(files), side, side), IGNORE_INDEX)
    padding = at_centres(torch.from_numpy(np.stack([square.padding for square in squares])), (side, side))
    fused = fuse_batch(
        GridLabels(labels, padding, None), maps, torch.zeros(0, maps.shape[1]), 0, recipe.method
    ).labels.numpy()
    rows = []
    for place, (file, square) in enumerate(zip(files, squares, strict=True)):
        rows_, columns = (int((~square.padding).any(axis=axis).sum()) for axis in (1, 0))
        image = square.image[:rows_:2, :columns:2]
        row = [Tile(pixels=image, above="photograph" if not place else "", below=file.stem)]
        for number, group in enumerate(largest(fused, 0)):
            mask = (fused[place] == group).repeat(2, 0).repeat(2, 1)[: image.shape[0], : image.shape[1]]
            row.append(
                Tile(
                    pixels=shown_alone(image, mask),
                    above=f"nameless {number + 1}" if not place else "",
                    below=f"{mask.mean():.0%}" if mask.any() else "not here",
                )
            )
        rows.append(row)
    notes = (
        "Mined together from mini's dense features: no label, no name. Below each group: its share of the photograph.",
    )
    sheet = draw_sheet(rows, notes=notes)
    path = out / "clip-to-seg-mined-photographs.jpg"
    sheet.save(path, quality=82, optimize=True)
    print(f"{path}: {sheet.width} x {sheet.height} pixels, {path.stat().st_size / 1000:.0f} kB")


def draw_results(runs: dict[str, Path], out: Path) -> None:
    """Draw held-out scenes, their truth, and the label map of every run."""
    models = {name: load_run(path) for name, path in runs.items()}
    recipes = {name: read_recipe(path)[1] for name, path in runs.items()}
    recipe = next(iter(recipes.values()))
    assert isinstance(recipe, ClipToSegRecipe)
    images = recipe.data.scored_images()
    assert images is not None
    vocabulary = images.vocabulary
    assert vocabulary.seen is not None
    unseen = [label for label in range(len(vocabulary)) if label not in vocabulary.seen]
    rows, shown = [], set()
    for sample in images:
        truth = sample.label_map
        assert truth is not None
        present = np.unique(truth[truth < len(vocabulary)])
        if not (np.isin(present, unseen).any() and (~np.isin(present, unseen)).any()):
            continue
        first = not rows
        row = [
            Tile(pixels=enlarged(sample.image, SIDE), above="scene" if first else ""),
            Tile(pixels=_drawn(truth, vocabulary, unseen), above="truth" if first else ""),
        ]
        shown |= set(present.tolist())
        for name, model in models.items():
            assert isinstance(model, ClipToSeg)
            found = model.segment(sample.image, vocabulary).label_map
            shown |= set(np.unique(found).tolist())
            hidden = np.isin(truth, unseen)
            right = found == truth
            known = ~hidden & (truth < len(vocabulary))
            row.append(
                Tile(
                    pixels=_drawn(found, vocabulary, unseen),
                    above=name if first else "",
                    below=f"unseen {right[hidden].mean():.0%}, seen {right[known].mean():.0%}",
                )
            )
        rows.append(row)
        if len(rows) == NUM_RESULTS:
            break
    notes = (
        f"The first {NUM_RESULTS} held-out scenes with a class without masks (striped) and one with; {recipe.run.num_steps}"
        " steps each.",
        "Below: share of the pixels of classes without and with masks that are right.",
    )
    sheet = draw_sheet(rows, legend=_legend(sorted(shown), vocabulary, unseen), notes=notes)
    save_sheet(sheet, out / "clip-to-seg-results.png")


def _pair_with_a_shared_class(truths: list[np.ndarray], unseen: list[int]) -> tuple[int, int]:
    """Find the first two scenes that show one class without masks, one of them a second such class."""
    of = [{label for label in unseen if (truth == label).sum() > 100} for truth in truths]
    for first, found in enumerate(of):
        for second in range(first + 1, len(of)):
            if len(found) > 1 and found & of[second]:
                return first, second
    raise SystemExit("no two scenes share a class without masks")


def _drawn(label_map: np.ndarray, vocabulary: Vocabulary, unseen: list[int]) -> np.ndarray:
    large = enlarged(label_map, SIDE)
    return striped(painted(large, len(vocabulary)), np.isin(large, unseen))


def _legend(labels: list[int], vocabulary: Vocabulary, unseen: list[int]) -> list[Entry]:
    colours = class_colours(len(vocabulary))
    named = [label for label in labels if label < len(vocabulary)]
    return [
        Entry(text="void", colour=VOID_COLOUR),
        *(
            Entry(
                text=vocabulary.names[label],
                colour=tuple(int(part) for part in colours[label]),
                striped=label in unseen,
            )
            for label in named
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_mining, of_results = kinds.add_parser("mined"), kinds.add_parser("results")
    of_mining.add_argument("--photographs", type=Path, nargs=2)
    of_results.add_argument("--runs", nargs="+", required=True, metavar="NAME=RUN")
    for each in (of_mining, of_results):
        each.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.kind == "results":
        draw_results(
            {name: Path(path) for name, path in (one.split("=", 1) for one in given.runs)}, given.out
        )
    elif given.photographs:
        draw_mined_photographs(given.photographs, given.out)
    else:
        draw_mined_scenes(given.out)


if __name__ == "__main__":
    main()
