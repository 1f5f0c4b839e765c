"""Look into trained runs of simformer/scenes. Run from the repository root.

Sheets of label maps, Basic beside Cross-Pair, and of SimNet's similarity (``lexiseg train simformer/scenes
--out …``; Basic with ``--method.pairs none``, the oracle with ``--method.pairs none --data.all-masks``)::

    python benchmarks/accuracy/simformer.py images --basic BASIC --full CROSS_PAIR --oracle ORACLE --out docs/assets

It writes ``simformer-results.png`` and ``simformer-simnet.png``. Scenes are not chosen by what comes out: they are
the first of the evaluation's that show what is to be shown.

Does SimNet know of classes it never saw a mask of whether two pixels show the same one? ::

    python benchmarks/accuracy/simformer.py transfer RUN [RUN ...]

It writes simnet_transfer.json beside this file: for pixels of two held-out scenes each, the area under the curve of
SimNet's similarity (0.5 is chance) for pairs of seen and for pairs of unseen classes, and mean similarities.

The papers' tables are made by ablations.py.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from image_sheet import Entry, Tile, draw_sheet, enlarged, heat, outlined, painted, save_sheet, striped
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.core.batch import Sample  # noqa: E402
from lexiseg.core.constants import IGNORE_INDEX  # noqa: E402
from lexiseg.core.drawing import VOID_COLOUR, class_colours  # noqa: E402
from lexiseg.core.vocabulary import Vocabulary  # noqa: E402
from lexiseg.data.labelled_dataset import LabelledDataset  # noqa: E402
from lexiseg.data.transforms import fitted_size, resize_image  # noqa: E402
from lexiseg.methods.simformer.model import SimFormer  # noqa: E402
from lexiseg.recipes.simformer import SimFormerRecipe  # noqa: E402
from lexiseg.runs.folder import load_run, read_recipe  # noqa: E402

SIDE = 192
NUM_RESULTS = 6
NUM_PAIRS, POINTS = 100, 48

#: Classes a pixel of whose is chosen: three that SimNet never saw a mask of, and one that it did.
CHOSEN = ("fish", "tree", "sand", "star")
SEEN, UNSEEN, WHITE = (120, 160, 205), (245, 150, 60), (255, 255, 255)


def read(folder: Path) -> tuple[SimFormerRecipe, SimFormer]:
    """Load a run of simformer/scenes."""
    recipe, model = read_recipe(folder)[1], load_run(folder)
    if not (isinstance(recipe, SimFormerRecipe) and isinstance(model, SimFormer)):
        raise SystemExit(f"{folder} is no run of simformer/scenes")
    return recipe, model


def unseen_of(vocabulary: Vocabulary) -> list[int]:
    """List the classes without masks."""
    assert vocabulary.seen is not None
    return [label for label in range(len(vocabulary)) if label not in vocabulary.seen]


def drawn_labels(label_map: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Paint a label map at the side of a tile, unseen classes striped."""
    large = enlarged(label_map, SIDE)
    return striped(painted(large, len(vocabulary)), np.isin(large, unseen_of(vocabulary)))


def drawn_split(label_map: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Paint in two colours what has masks in training and what has only tags."""
    drawn = np.full((*label_map.shape, 3), SEEN, np.uint8)
    drawn[np.isin(label_map, unseen_of(vocabulary))] = UNSEEN
    drawn[label_map == IGNORE_INDEX] = VOID_COLOUR
    return enlarged(drawn, SIDE)


def names_of(label_map: np.ndarray, vocabulary: Vocabulary, labels: list[int]) -> str:
    """List which of some classes are in a label map."""
    found = [vocabulary.names[label] for label in labels if (label_map == label).any()]
    return ", ".join(found)


def right(found: np.ndarray, truth: np.ndarray, labels: list[int]) -> str:
    """Return which share of the pixels of some classes, and which of all others, are labelled right."""
    unseen = np.isin(truth, labels)
    seen = ~unseen & (truth != IGNORE_INDEX)
    return f"unseen {(found == truth)[unseen].mean():.0%}, seen {(found == truth)[seen].mean():.0%}"


def draw_results(models: dict[str, SimFormer], dataset: LabelledDataset, steps: int, path: Path) -> None:
    """Draw image, seen and unseen, truth, and the label map of every model."""
    vocabulary = dataset.vocabulary
    unseen = unseen_of(vocabulary)
    samples = [sample for sample in dataset if _shows_both(sample, unseen, len(vocabulary))]
    rows, shown = [], set()
    for number, sample in enumerate(samples[:NUM_RESULTS]):
        truth = sample.label_map
        assert truth is not None
        tags = names_of(truth, vocabulary, unseen)
        row = [
            Tile(pixels=enlarged(sample.image, SIDE), above="" if number else "image"),
            Tile(
                pixels=drawn_split(truth, vocabulary),
                above="" if number else "masks or tags only",
                below=f"tags: {tags}",
            ),
            Tile(pixels=drawn_labels(truth, vocabulary), above="" if number else "truth"),
        ]
        shown |= set(np.unique(truth).tolist())
        for name, model in models.items():
            found = model.segment(sample.image, vocabulary).label_map
            shown |= set(np.unique(found).tolist())
            row.append(
                Tile(
                    pixels=drawn_labels(found, vocabulary),
                    above="" if number else name,
                    below=right(found, truth, unseen),
                )
            )
        rows.append(row)
    colours = class_colours(len(vocabulary))
    legend = [
        Entry(text="masks in training", colour=SEEN),
        Entry(text="only tags in training", colour=UNSEEN),
        Entry(text="void", colour=VOID_COLOUR),
        *(
            Entry(
                text=vocabulary.names[label],
                colour=tuple(int(part) for part in colours[label]),
                striped=label in unseen,
            )
            for label in sorted(shown)
            if label < len(vocabulary)
        ),
    ]
    notes = (
        "Second column: what training is told of such an image, masks of the blue part and only the names of what is"
        " in the orange part.",
        "To the models these images were new, and nothing is told of them. Striped: unseen classes. Numbers: pixels of"
        " unseen and of seen classes labelled right.",
        f"The first six held-out scenes with two unseen classes and a seen one, or more. Each model: {steps} steps.",
    )
    save_sheet(draw_sheet(rows, legend=legend, notes=notes), path)


def _shows_both(sample: Sample, unseen: list[int], num_classes: int) -> bool:
    """Return whether a scene has two unseen classes or more, and a seen one."""
    labels = [label for label in np.unique(sample.label_map) if label < num_classes]
    return np.isin(labels, unseen).sum() >= 2 and not np.isin(labels, unseen).all()


@torch.inference_mode()
def pixel_embeddings(model: SimFormer, image: np.ndarray) -> torch.Tensor:
    """Embed the pixels of an image, ``D h w``."""
    size = fitted_size(
        image.shape[:2],
        short_side=model.settings.short_side,
        max_long_side=model.settings.max_long_side,
        squash=False,
        multiple_of=model.network.size_divisor,
    )
    return model.network(resize_image(image, size)[None], last_only=True).pixel_embeddings[0]


@torch.inference_mode()
def similarity(
    model: SimFormer, first: torch.Tensor, pixel: tuple[int, int], second: torch.Tensor
) -> np.ndarray:
    """Return SimNet's probability that each pixel of ``second`` shows the class of a pixel of ``first``."""
    assert model.pair_losses is not None, "the run has no SimNet: give one with method.pairs self or cross"
    one = first[:, pixel[0], pixel[1]][None, None]
    others = second.flatten(1).T[None]
    return model.pair_losses.simnet(one, others).sigmoid()[0, 0].view(second.shape[1:]).numpy()


def innermost(mask: np.ndarray) -> tuple[int, int]:
    """Find the pixel of a mask that is furthest from its border."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def marked(pixels: np.ndarray, pixel: tuple[int, int], times: int) -> np.ndarray:
    """Put a white ring with a black rim around a pixel of an image that was enlarged."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    y, x = ((place + 0.5) * times for place in pixel)
    for radius, colour, width in ((9, (0, 0, 0), 5), (8, WHITE, 3)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)
    return np.asarray(image)


def draw_simnet(model: SimFormer, dataset: LabelledDataset, steps: int, path: Path) -> None:
    """Draw for a pixel of some classes how alike all pixels of its image and of another one are."""
    vocabulary = dataset.vocabulary
    unseen = unseen_of(vocabulary)
    rows, start = [], 0
    for name in CHOSEN:
        label = vocabulary.index(name)
        # Not too small to find the pixel, and other images for every class.
        large = [i for i in range(start, len(dataset)) if (dataset[i].label_map == label).mean() > 0.04]
        first, second = (dataset[index] for index in large[:2])
        start = large[1] + 1
        embeddings = [pixel_embeddings(model, sample.image) for sample in (first, second)]
        times = first.image.shape[0] // embeddings[0].shape[1]
        mask = first.label_map == label
        pixel = innermost(mask)
        on_grid = (pixel[0] // times, pixel[1] // times)
        kind = "unseen" if label in unseen else "seen"
        row = []
        for place, (sample, found) in enumerate(zip((first, second), embeddings, strict=True)):
            alike = similarity(model, embeddings[0], on_grid, found)
            large_mask = enlarged(sample.label_map == label, SIDE)
            seen_as = outlined(enlarged(heat(alike), SIDE), large_mask, WHITE)
            image, truth = enlarged(sample.image, SIDE), drawn_labels(sample.label_map, vocabulary)
            if not place:
                image, seen_as = (marked(p, pixel, SIDE // mask.shape[0]) for p in (image, seen_as))
            here = np.repeat(np.repeat(alike, times, 0), times, 1)
            inside = sample.label_map == label
            outside = ~inside & (sample.label_map != IGNORE_INDEX)
            row += [
                Tile(
                    pixels=image,
                    above=f"a pixel of {name} ({kind})" if not place else "another image",
                    gap=16,
                ),
                Tile(pixels=truth, above="truth"),
                Tile(
                    pixels=seen_as,
                    above="similarity to that pixel",
                    below=f"{here[inside].mean():.2f} inside, {here[outside].mean():.2f} outside",
                ),
            ]
        rows.append(row)
    notes = (
        "SimNet's probability of “same class” as the ringed pixel, for every pixel of the same and of another image:"
        " dark = 0, yellow = 1, their means below.",
        "White line: where that class really is. Striped: unseen classes. SimNet learnt from pairs with a pixel"
        " of a seen class, for which pixels of unseen ones were only ever other than it; it is not used after training.",
        "Not chosen: held-out scenes in order, for each class the next two of which it covers more than 4%."
        f" Cross-Pair, {steps} steps.",
    )
    save_sheet(draw_sheet(rows, notes=notes), path)


@torch.inference_mode()
def measure_transfer(folder: Path) -> dict[str, object]:
    """Compare random pixels of scenes 2p and 2p + 1 as the teacher does."""
    recipe, model = read(folder)
    assert model.pair_losses is not None, f"{folder} has no SimNet"
    simnet, vocabulary = model.pair_losses.simnet.eval(), model.vocabulary
    seen = np.isin(np.arange(len(vocabulary)), sorted(vocabulary.seen or ()))
    rng, images = np.random.default_rng(0), recipe.data.scored_images()
    same, similarity = defaultdict(list), defaultdict(list)
    for pair in range(min(NUM_PAIRS, len(images) // 2)):
        drawn = [_points(model, images[2 * pair + side], len(vocabulary), rng) for side in (0, 1)]
        (first, labels), (second, others) = drawn
        found = simnet(first[None], second[None]).sigmoid()[0].numpy()
        alike = labels[:, None] == others
        for kind, rows, columns in (
            ("seen", seen[labels], seen[others]),
            ("unseen", ~seen[labels], ~seen[others]),
        ):
            same[kind] += alike[rows][:, columns].flatten().tolist()
            similarity[kind] += found[rows][:, columns].flatten().tolist()
        for label in np.unique(labels):
            both = found[labels == label][:, others == label]
            similarity[vocabulary.names[label]] += both.flatten().tolist()
    return {
        "steps": recipe.run.num_steps,
        "unlabelled_differ": recipe.method.unlabelled_differ,
        "distillation": recipe.method.distillation,
        "num_seen": int(seen.sum()),
        "num_unseen": int((~seen).sum()),
        "area_under_curve": {kind: round(roc_auc_score(same[kind], similarity[kind]), 3) for kind in same},
        "similarity_of_same_class": {
            f"{name} ({'seen' if seen[label] else 'unseen'})": round(float(np.mean(similarity[name])), 3)
            for label, name in enumerate(vocabulary.names)
            if similarity[name]
        },
    }


def _points(model, sample, num_classes: int, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """Draw labelled pixels of a scene: embeddings ``J D`` and labels ``J``."""
    height, width = sample.image.shape[:2]
    pixels = resize_image(sample.image, (height, width))[None]
    embeddings = model.network(pixels, last_only=True).pixel_embeddings[0]
    stride = height // embeddings.shape[1]
    labels = sample.label_map[stride // 2 :: stride, stride // 2 :: stride].astype(int).flatten()
    chosen = rng.permutation(np.flatnonzero(labels < num_classes))[:POINTS]
    return embeddings.flatten(1).T[chosen], labels[chosen]


def main() -> None:
    """Read the command line and do what it names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    images = commands.add_parser("images", help="draw label maps and similarities")
    images.add_argument("--basic", type=Path, required=True, help="run with method.pairs none")
    images.add_argument(
        "--full", type=Path, required=True, help="run with method.pairs cross; its SimNet is drawn"
    )
    images.add_argument("--oracle", type=Path, help="run with data.all_masks; left out, no such column")
    images.add_argument("--out", type=Path, default=Path("docs/assets"))
    transfer = commands.add_parser("transfer", help="measure SimNet on unseen classes")
    transfer.add_argument("runs", nargs="+", type=Path, help="runs with a SimNet")
    arguments = parser.parse_args()
    if arguments.command == "transfer":
        found = [measure_transfer(run) for run in arguments.runs]
        print(json.dumps(found, indent=1))
        facts = {"command": "python benchmarks/accuracy/simformer.py transfer RUN RUN", **machine()}
        (HERE / "simnet_transfer.json").write_text(json.dumps({**facts, "runs": found}, indent=1) + "\n")
        return
    runs = {"Basic": read(arguments.basic), "Cross-Pair": read(arguments.full)}
    kinds = [("none", False), ("cross", False)]
    if arguments.oracle:
        runs["all masks given (oracle)"] = read(arguments.oracle)
        kinds.append(("none", True))
    if [(other.method.pairs, other.data.all_masks) for other, _ in runs.values()] != kinds:
        parser.error("the runs are not what they are given as: look at method.pairs and data.all_masks")
    recipe, full = runs["Cross-Pair"]
    for other, _ in runs.values():
        if other.data.scenes != recipe.data.scenes or other.run.num_steps != recipe.run.num_steps:
            parser.error("the runs have other scenes or another number of steps")
    models = {name: model for name, (_, model) in runs.items()}
    dataset = recipe.data.scored_images()
    draw_results(models, dataset, recipe.run.num_steps, arguments.out / "simformer-results.png")
    draw_simnet(full, dataset, recipe.run.num_steps, arguments.out / "simformer-simnet.png")


if __name__ == "__main__":
    main()
