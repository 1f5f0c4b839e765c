"""Look into trained runs of simseg/scenes. Run from the repository root.

Sheets of maps and masks, with LoDA and with mean pooling (``lexiseg train simseg/scenes --out …``; for the second
with ``--method.training.pooling mean --method.testing.pooling mean``)::

    python benchmarks/accuracy/simseg.py images --run LODA_RUN --mean MEAN_RUN --out docs/assets

It writes ``simseg-maps.png`` and ``simseg-results.png``. Scenes are not chosen by what comes out: they are the
first of the evaluation's with three things (maps) and with two or more (results).

How many of the largest values of a sentence are at padding tokens; writes simseg_padding.json beside this file::

    python benchmarks/accuracy/simseg.py padding RUN

What the maps of trained runs find and which thing they mean, read out in four ways; writes simseg_readouts.json::

    python benchmarks/accuracy/simseg.py readouts --runs RUN RUN … [--scenes 200]

The papers' tables are made by ablations.py.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from image_sheet import Entry, Tile, draw_sheet, enlarged, heat, outlined, painted, save_sheet

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.core.batch import Sample  # noqa: E402
from lexiseg.core.drawing import class_colours  # noqa: E402
from lexiseg.core.vocabulary import Vocabulary  # noqa: E402
from lexiseg.data.scenes import SceneDataset, scene_batch, scene_vocabulary  # noqa: E402
from lexiseg.inference.predict import grid_scores  # noqa: E402
from lexiseg.methods.simseg.class_masks import resize_nearest, scale_map  # noqa: E402
from lexiseg.methods.simseg.localisation import similarity_mass  # noqa: E402
from lexiseg.methods.simseg.segmenter import SimSeg  # noqa: E402
from lexiseg.recipes.simseg import SceneSimSegRecipe  # noqa: E402
from lexiseg.runs.folder import load_run, read_recipe  # noqa: E402
from lexiseg.scoring.evaluate import evaluate  # noqa: E402

MAP_SIDE, RESULT_SIDE = 128, 192
NUM_MAPS, NUM_RESULTS = 4, 6
WHITE = (255, 255, 255)

NUM_CAPTIONS = 500


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
    """Draw image, truth, and a map of each model for each thing."""
    vocabulary = dataset.vocabulary
    rows = []
    for sample, _ in zip(first_with(dataset, 3), range(NUM_MAPS), strict=False):
        labels = things(sample, vocabulary)[:3]
        truth = painted(sample.label_map, len(vocabulary), vocabulary.background)
        row = [
            Tile(pixels=enlarged(sample.image, MAP_SIDE), above="image"),
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
    """Draw image, truth and label maps: without and with CRF, and the other pooling."""
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
        row = [Tile(pixels=enlarged(sample.image, RESULT_SIDE), above="" if number else "image")]
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


@torch.inference_mode()
def share_at_padding(model: SimSeg, sentences: Sequence[str], top_k: int) -> float:
    """Return the share of the largest values, over all channels, that are at padding tokens."""
    tokens, attention_mask = model.texts.network(sentences, pad_to_max_length=True)
    places = model.texts.projection(tokens).topk(top_k, dim=1).indices
    return float((places >= attention_mask.sum(1)[:, None, None]).float().mean())


def measure_padding(run: Path) -> None:
    """Measure the share of captions and of a prompt; write it."""
    recipe, model = read(run)
    captions = scene_batch(recipe.data, 77, 0, 0, NUM_CAPTIONS, NUM_CAPTIONS).captions
    prompts = [f"a photo of a {name}" for name in scene_vocabulary(recipe.data).names]
    found = {f"captions, top-{top_k}": share_at_padding(model, captions, top_k) for top_k in (1, 3, 5)}
    found["a photo of a …, top-1"] = share_at_padding(model, prompts, 1)
    print(json.dumps(found, indent=1))
    facts = {"command": "python benchmarks/accuracy/simseg.py padding RUN", **machine()}
    facts |= {"steps": recipe.run.num_steps, "num_captions": NUM_CAPTIONS}
    (HERE / "simseg_padding.json").write_text(json.dumps({**facts, "at_padding": found}, indent=1) + "\n")


def measure_readouts(runs: list[Path], num_scenes: int) -> None:
    """Measure segmentation and places by every kind of map, of each run; write what there is after each."""
    file = HERE / "simseg_readouts.json"
    found: list[dict[str, object]] = []
    for run in runs:
        recipe, model = read(run)
        dataset = SceneDataset(recipe.data, num_scenes, seed=recipe.evaluation.seed)
        for kind in ("similarity", "contrasted", "negated", "saliency"):
            model.method = replace(model.method, masks=replace(model.method.masks, map=kind))
            iou = np.asarray(evaluate(model, dataset).scores.iou)
            place = similarity_mass(model, dataset, dataset.vocabulary)
            training = recipe.method.training
            found.append(
                {
                    "pooling": training.pooling,
                    "image_topk": training.image_topk,
                    "text_topk": training.text_topk,
                    "seed": recipe.run.seed,
                    "steps": recipe.run.num_steps,
                    "map": kind,
                    "foreground_mean_iou": float(
                        np.nanmean(np.delete(iou, dataset.vocabulary.background or 0))
                    ),
                    "which_is_which": place.which_is_which,
                    "chance": place.chance,
                    "map_offset": place.map_offset,
                    "mask_energy": place.mask_energy,
                    "area_baseline": place.area_baseline,
                }
            )
            print(json.dumps(found[-1]), flush=True)
            facts = {"command": "python benchmarks/accuracy/simseg.py readouts --runs RUN …", **machine()}
            facts |= {"num_scenes": num_scenes, "read_outs": found}
            file.write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Read the command line and do what it names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    images = commands.add_parser("images", help="draw maps and masks")
    images.add_argument("--run", type=Path, required=True, help="run of simseg/scenes with LoDA")
    images.add_argument("--mean", type=Path, required=True, help="the same with mean pooling")
    images.add_argument("--out", type=Path, default=Path("docs/assets"))
    padding = commands.add_parser("padding", help="measure the share of padding tokens")
    padding.add_argument("run", type=Path, help="run of simseg/scenes with LoDA")
    readouts = commands.add_parser("readouts", help="measure four kinds of maps")
    readouts.add_argument("--runs", type=Path, nargs="+", required=True, help="runs of simseg/scenes")
    readouts.add_argument("--scenes", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.command == "readouts":
        measure_readouts(arguments.runs, arguments.scenes)
        return
    if arguments.command == "padding":
        measure_padding(arguments.run)
        return
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
