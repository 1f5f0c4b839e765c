"""Draw what simseg/scenes sees: where it finds a word, and its masks, with LoDA and with mean pooling.

Run from the repository root, with two trained runs (``lexiseg train simseg/scenes --out …``; for the second with
``--method.training.pooling mean --method.testing.pooling mean``)::

    python benchmarks/accuracy/simseg_pictures.py --run LODA_RUN --mean MEAN_RUN --out docs/assets

It writes ``simseg-maps.png`` and ``simseg-results.png``. Scenes are not chosen by what comes out: they are the
first of the evaluation's with three things (maps) and with two or more (results).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from picture_sheet import Entry, Tile, draw_sheet, enlarged, heat, outlined, painted, save_sheet

from lexiseg.core.batch import Sample
from lexiseg.core.drawing import class_colours
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.scenes import SceneDataset
from lexiseg.inference.predict import grid_scores
from lexiseg.methods.simseg.class_masks import resize_nearest, scale_map
from lexiseg.methods.simseg.segmenter import SimSeg
from lexiseg.recipes.simseg import SceneSimSegRecipe
from lexiseg.runs.folder import load_run, read_recipe

MAP_SIDE, RESULT_SIDE = 128, 192
NUM_MAPS, NUM_RESULTS = 4, 6
WHITE = (255, 255, 255)


def read(folder: Path) -> tuple[SceneSimSegRecipe, SimSeg]:
    """Load a run of simseg/scenes."""
    recipe, model = read_recipe(folder)[1], load_run(folder)
    if not (isinstance(recipe, SceneSimSegRecipe) and isinstance(model, SimSeg)):
        raise SystemExit(f"{folder} is no run of simseg/scenes")
    return recipe, model


def things(sample: Sample, vocabulary: Vocabulary) -> list[int]:
    """List the classes of a scene without background, the largest first."""
    labels, areas = np.unique(sample.label_map, return_counts=True)
    order = labels[np.argsort(-areas, kind="stable")]
    return [int(k) for k in order if k < len(vocabulary) and k != vocabulary.background]


def first_with(dataset: SceneDataset, least: int) -> Iterator[Sample]:
    """Return the scenes with at least so many classes, in order."""
    return (sample for sample in dataset if len(things(sample, dataset.vocabulary)) >= least)


@torch.inference_mode()
def word_maps(model: SimSeg, sample: Sample, vocabulary: Vocabulary, labels: list[int]) -> np.ndarray:
    """Return the similarity of every patch with some class names, each map stretched to [0, 1]."""
    names = list(vocabulary.names)
    embeddings = model.embed_texts(names, model.settings.prompts)
    encoded = model.encode(sample.image)
    maps = grid_scores(
        encoded, model.class_scores, embeddings, [1] * len(names), labels, settings=model.settings
    )
    return scale_map(maps.float().numpy())


def draw_maps(models: dict[str, SimSeg], dataset: SceneDataset, steps: int, path: Path) -> None:
    """Draw picture, truth, and a map of each model for each thing."""
    vocabulary = dataset.vocabulary
    rows = []
    for sample, _ in zip(first_with(dataset, 3), range(NUM_MAPS), strict=False):
        labels = things(sample, vocabulary)[:3]
        truth = painted(sample.label_map, len(vocabulary), vocabulary.background)
        row = [
            Tile(pixels=enlarged(sample.image, MAP_SIDE), above="picture"),
            Tile(pixels=enlarged(truth, MAP_SIDE), above="truth"),
        ]
        found = {name: word_maps(model, sample, vocabulary, labels) for name, model in models.items()}
        for place, label in enumerate(labels):
            mask = sample.label_map == label
            for name, maps in found.items():
                mass = resize_nearest(maps[place], (mask.shape[0], mask.shape[1]))
                inside = float(mass[mask].sum() / max(mass.sum(), 1e-12))
                drawn = outlined(enlarged(heat(maps[place]), MAP_SIDE), enlarged(mask, MAP_SIDE), WHITE)
                row.append(
                    Tile(
                        pixels=drawn,
                        above=f"“{vocabulary.names[label]}” {name}",
                        below=f"{inside:.0%} inside ({mask.mean():.0%})",
                        gap=16 if name == next(iter(found)) else 4,
                    )
                )
        rows.append(row)
    notes = (
        "Similarity of each 8 x 8 patch with the word: dark = lowest, yellow = highest of that map. White line: where"
        " the thing really is.",
        "“inside”: share of the map's mass within that line; in brackets, what a flat map would have.",
        "The first four held-out scenes with three things or more, the three largest of each. LoDA and mean pooling"
        f" were trained alike, {steps} steps.",
    )
    save_sheet(draw_sheet(rows, notes=notes), path)


def draw_results(models: dict[str, SimSeg], dataset: SceneDataset, steps: int, path: Path) -> None:
    """Draw picture, truth and label maps: without and with CRF, and the other pooling."""
    vocabulary = dataset.vocabulary
    columns = {
        "LoDA": (models["LoDA"], "none"),
        "LoDA + CRF": (models["LoDA"], "crf"),
        "mean pooling": (models["mean"], "none"),
        "mean pooling + CRF": (models["mean"], "crf"),
    }
    rows: list[list[Tile]] = []
    shown: set[int] = set()
    for sample, number in zip(first_with(dataset, 2), range(NUM_RESULTS), strict=False):
        maps = {"truth": sample.label_map} | {
            name: model.segment(sample.image, vocabulary, refine=refine).label_map
            for name, (model, refine) in columns.items()
        }
        row = [Tile(pixels=enlarged(sample.image, RESULT_SIDE), above="" if number else "picture")]
        for name, label_map in maps.items():
            shown |= set(np.unique(label_map).tolist())
            drawn = painted(label_map, len(vocabulary), vocabulary.background)
            row.append(Tile(pixels=enlarged(drawn, RESULT_SIDE), above="" if number else name))
        rows.append(row)
    colours = class_colours(len(vocabulary))
    if vocabulary.background is not None:
        colours[vocabulary.background] = painted(np.zeros((1, 1), int), 1, 0)[0, 0]
    legend = [
        Entry(text=vocabulary.names[label], colour=tuple(int(part) for part in colours[label]))
        for label in sorted(shown)
    ]
    note = (
        "The first six held-out scenes with two things or more. Learnt from captions alone, "
        f"{steps} steps; no mask was ever seen."
    )
    save_sheet(draw_sheet(rows, legend=legend, notes=(note,)), path)


def main() -> None:
    """Draw both sheets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="run of simseg/scenes with LoDA")
    parser.add_argument("--mean", type=Path, required=True, help="the same with mean pooling")
    parser.add_argument("--out", type=Path, default=Path("docs/assets"))
    arguments = parser.parse_args()
    recipe, loda = read(arguments.run)
    other, mean = read(arguments.mean)
    steps = recipe.run.num_steps
    if [each.method.training.pooling for each in (recipe, other)] != ["topk", "mean"]:
        parser.error("the runs are not what they are given as: look at method.training.pooling")
    if other.data != recipe.data or other.run.num_steps != steps:
        parser.error("the two runs have other scenes or another number of steps")
    models = {"LoDA": loda, "mean": mean}
    dataset = SceneDataset(recipe.data, recipe.evaluation.num_scenes, seed=recipe.evaluation.seed)
    draw_maps(models, dataset, steps, arguments.out / "simseg-maps.png")
    draw_results(models, dataset, steps, arguments.out / "simseg-results.png")


if __name__ == "__main__":
    main()
