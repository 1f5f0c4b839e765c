r"""A class that is in nearly every image, seen one scene at a time: is it not in the map, or is it lost by the threshold?

    lexiseg train simseg/scenes --out RUN --data.common-class person --data.common-frequency 0.9 --run.num-steps 200 \
        --run.batch-size 64
    python benchmarks/accuracy/simseg_person.py RUN [--scenes 200]

The picture is of the kind of Figure 14 in SimSeg's supplement (CVPR 2023): the first four held-out scenes in which a person is
beside another thing, with the maps of both words, what they score and the threshold. It goes to docs/assets/simseg-person.png,
the numbers over all such scenes to simseg_person.json beside this file.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from image_sheet import Tile, draw_sheet, enlarged, heat, outlined, painted, save_sheet
from simseg import WHITE, read, things, word_maps

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.core.batch import Sample  # noqa: E402
from lexiseg.core.vocabulary import Vocabulary  # noqa: E402
from lexiseg.data.scenes import SceneDataset  # noqa: E402
from lexiseg.methods.simseg.class_masks import resize_nearest  # noqa: E402
from lexiseg.methods.simseg.segmenter import SimSeg  # noqa: E402

SIDE, SHOWN = 128, 4  # sides are multiples of the scenes'


@torch.inference_mode()
def class_scores(model: SimSeg, sample: Sample, vocabulary: Vocabulary) -> tuple[np.ndarray, float]:
    """Return what every class scores on an image, and the threshold that classes of the image have to reach."""
    embeddings = model.embed_texts(list(vocabulary.names), model.settings.prompts)
    (features,) = model.encode(sample.image).features
    assert features.global_token is not None
    scores = (embeddings @ features.global_token[0]).numpy()
    best = np.sort(scores)[::-1][: model.method.masks.threshold_top_k]
    return scores, float(best.mean() + model.method.masks.num_std * best.std(ddof=1))


def main() -> None:
    """Draw and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run of simseg/scenes with data.common_class")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("docs/assets"))
    arguments = parser.parse_args()
    recipe, model = read(arguments.run)
    if recipe.data.common_class is None:
        parser.error("the run has no common class: train with --data.common-class person")
    dataset = SceneDataset(recipe.data, arguments.scenes, seed=recipe.evaluation.seed)
    vocabulary = dataset.vocabulary
    common = vocabulary.index(recipe.data.common_class)
    kinds = (vocabulary.names[common], "the largest thing beside it")
    numbers: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in ("score", "passes", "inside", "flat")} for kind in kinds
    }
    rows, thresholds = [], []
    for sample in dataset:
        present = things(sample, vocabulary)
        others = [label for label in present if label != common]
        if common not in present or not others:
            continue
        assert sample.label_map is not None
        labels = [common, others[0]]
        scores, threshold = class_scores(model, sample, vocabulary)
        thresholds.append(threshold)
        maps = word_maps(model, sample, vocabulary, labels)
        row = [Tile(pixels=enlarged(sample.image, SIDE), above="image")]
        for kind, label, found in zip(kinds, labels, maps, strict=True):
            mask = sample.label_map == label
            mass = resize_nearest(found, (mask.shape[0], mask.shape[1]))
            inside = float(mass[mask].sum() / max(mass.sum(), 1e-12))
            values = (scores[label], scores[label] >= threshold, inside, mask.mean())
            for name, value in zip(numbers[kind], values, strict=True):
                numbers[kind][name].append(float(value))
            drawn = outlined(enlarged(heat(found), SIDE), enlarged(mask, SIDE), WHITE)
            sign = ">" if scores[label] >= threshold else "<"
            below = f"{scores[label]:.2f} {sign} {threshold:.2f}"
            row.append(Tile(pixels=drawn, above=f"“{vocabulary.names[label]}”", below=below, gap=12))
        if len(rows) < SHOWN:
            result = painted(
                model.segment(sample.image, vocabulary).label_map, len(vocabulary), vocabulary.background
            )
            truth = painted(sample.label_map, len(vocabulary), vocabulary.background)
            row += [
                Tile(pixels=enlarged(truth, SIDE), above="truth", gap=12),
                Tile(pixels=enlarged(result, SIDE), above="result"),
            ]
            rows.append(row)
    share = f"{recipe.data.common_frequency:.0%}"
    notes = (
        f"The first {len(rows)} held-out scenes in which a {kinds[0]}, shown in {share} of all scenes, is beside something.",
        "Similarity of each patch with the word: yellow = highest; white line: where it is. Below: score and threshold.",
        f"Learnt from captions alone, {recipe.run.num_steps} steps.",
    )
    save_sheet(draw_sheet(rows, notes=notes), arguments.out / "simseg-person.png")
    facts = {
        "command": "python benchmarks/accuracy/simseg_person.py RUN",
        **machine(),
        "steps": recipe.run.num_steps,
        "seed": recipe.run.seed,
        "common_frequency": recipe.data.common_frequency,
        "num_scenes": len(thresholds),
        "mean_threshold": float(np.mean(thresholds)),
        "found": {
            kind: {name: float(np.mean(values)) for name, values in by.items()}
            for kind, by in numbers.items()
        },
    }
    (HERE / "simseg_person.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts["found"], indent=1))


if __name__ == "__main__":
    main()
