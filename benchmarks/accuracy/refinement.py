"""What edge-aware refinement brings: mean IoU without, guided (the default) and with a dense CRF.

Two kinds of coarse scores:

* ``blurred truth``: true label maps averaged over patches of 16 or 32 pixels, blurred and with
  smooth noise: what a good encoder would give.
* ``mini``: the embedded model, with all words of the data set ("all words") or, for each
  photograph, only the words that occur in it ("its words").

Settings were chosen on coco-free and the first hundred photographs of clothing; the hundred of
clothing scored here were not looked at before. Beside mean IoU (``mean_iou``: classes that occur or are
predicted) it gives the share of right pixels within ten pixels of a true border.

    python benchmarks/accuracy/refinement.py [FOLDER WITH coco-free AND clothing]
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import interpolate

import lexiseg
from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.folder import FolderDataset
from lexiseg.inference.refine import refine_labels
from lexiseg.inference.refine_crf import refine_labels_crf
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.ops.resize import resize_argmax

CLOTHING = range(100, 200)
BORDER_PIXELS = 10

#: The settings of ``refine``, and what they are called in the JSON.
REFINEMENTS = {"none": "plain", "guided": "refined", "crf": "crf"}

#: A sample to label maps, one for each of these.
Predict = Callable[[Sample], list[np.ndarray]]


def blurred_truth(patch: int) -> Predict:
    """Refine what is left of the truth after averaging over patches, blur and noise."""

    def predict(sample: Sample) -> list[np.ndarray]:
        labels = true_labels(sample)
        names = np.unique(labels[labels != IGNORE_INDEX])
        grid = tuple(max(1, round(side / patch)) for side in labels.shape)
        covered = torch.from_numpy(labels[None] == names[:, None, None]).float()
        share = interpolate(covered[None], size=grid, mode="area")[0].numpy()
        generator = np.random.default_rng(int(sample.source.stem))
        noise = ndimage.gaussian_filter(generator.standard_normal(share.shape), (0, 0.7, 0.7))
        scores = ndimage.gaussian_filter(share, (0, 0.8, 0.8)) + 0.25 * noise / noise.std()
        coarse = torch.from_numpy(scores.astype(np.float32))
        found = (
            resize_argmax(coarse, labels.shape),
            refine_labels(coarse, sample.image),
            refine_labels_crf(coarse, sample.image),
        )
        return [names[best.labels] for best in found]

    return predict


def mini(model: lexiseg.Segmenter, names: tuple[str, ...], only_its_words: bool) -> Predict:
    """Segment with the embedded model, encoding each photograph once."""

    def predict(sample: Sample) -> list[np.ndarray]:
        labels = true_labels(sample)
        classes = np.arange(len(names), dtype=np.uint16)
        if only_its_words:
            classes = np.unique(labels[labels != IGNORE_INDEX])
        encoded = model.encode(sample.image)
        words = [names[label] for label in classes]
        found = (model.segment(encoded, words, refine=refine, background="none") for refine in REFINEMENTS)
        return [classes[result.label_map] for result in found]

    return predict


def true_labels(sample: Sample) -> np.ndarray:
    assert sample.label_map is not None
    return sample.label_map


def near_border(labels: np.ndarray) -> np.ndarray:
    """Mark the pixels within ``BORDER_PIXELS`` of a change of label."""
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return ndimage.distance_transform_edt(~border) <= BORDER_PIXELS


def measure(samples: Iterable[Sample], num_classes: int, predict: Predict) -> dict[str, Any]:
    """Score the label maps of all refinements over a data set."""
    counts = [ConfusionMatrix(num_classes) for _ in REFINEMENTS]
    right, scored, num_images = [0] * len(REFINEMENTS), 0, 0
    for sample in samples:
        labels = true_labels(sample)
        band = near_border(labels) & (labels != IGNORE_INDEX)
        scored += int(band.sum())
        num_images += 1
        for at, predicted in enumerate(predict(sample)):
            counts[at].update(labels, predicted)
            right[at] += int((predicted == labels)[band].sum())
    result: dict[str, Any] = {"num_images": num_images, "num_classes": num_classes}
    for at, name in enumerate(REFINEMENTS.values()):
        scores = compute_scores(counts[at])
        result[name] = {
            "mean_iou": round(scores.mean_iou, 5),
            "mean_iou_present": round(scores.mean_iou_present, 5),
            "pixel_accuracy": round(scores.pixel_accuracy, 5),
            "border_accuracy": round(right[at] / scored, 5),
        }
    return result


def write_page(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the table as a page; percent."""
    keys = ("mean_iou", "mean_iou_present", "pixel_accuracy", "border_accuracy")
    lines = [
        "# Edge-aware refinement: none, guided, CRF",
        "",
        f"`python benchmarks/accuracy/{path.stem}.py` writes this page and the JSON beside it. What the rows",
        "are is said at the top of that file. Percent, without → guided (the default) / CRF. Present classes: mean IoU",
        "over those that occur. Near borders: right pixels within ten pixels of a true border.",
        "Settings were chosen on coco-free and other photographs of clothing than those scored here.",
        "",
        "| scores | photographs | mean IoU | present classes | pixel accuracy | near borders |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        pairs = [
            f"{100 * row['plain'][key]:.2f} → {100 * row['refined'][key]:.2f} / {100 * row['crf'][key]:.2f}"
            for key in keys
        ]
        lines.append(f"| {name} | {row['num_images']} | {' | '.join(pairs)} |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    coco, clothing = (FolderDataset(folder / name, labels="only") for name in ("coco-free", "clothing"))
    model = lexiseg.load(
        "mini", method_settings={"head": "none"}
    )  # no head: it was trained on photographs measured here
    rows = {}
    for name, dataset, indices in (("coco-free", coco, range(len(coco))), ("clothing", clothing, CLOTHING)):
        names = dataset.vocabulary.names
        predictors = {
            "blurred truth, patch 32": blurred_truth(32),
            "blurred truth, patch 16": blurred_truth(16),
            "mini, all words": mini(model, names, only_its_words=False),
            "mini, its words": mini(model, names, only_its_words=True),
        }
        for kind, predict in predictors.items():
            samples = (dataset[index] for index in indices)
            row = rows[f"{name}: {kind}"] = measure(samples, len(names), predict)
            print(f"{name}: {kind}", json.dumps(row), flush=True)
    path = Path(__file__)
    content = {"command": f"python benchmarks/accuracy/{path.name}", "rows": rows}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    write_page(path, rows)


if __name__ == "__main__":
    main()
