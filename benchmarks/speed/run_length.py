"""Write all masks of a label map as COCO run lengths: Lexiseg in one pass, pycocotools a class at a time."""

from pathlib import Path

import numpy as np
from label_maps import LabelMap, draw_noise, draw_regions, read_annotations
from pycocotools import mask as coco_mask
from timing import Row, compare, print_rows, write_json

from lexiseg.core.coco_rle import encode_label_map
from lexiseg.core.constants import IGNORE_INDEX

NUM_CLASSES = 150


def encode_lexiseg(label_map: LabelMap) -> dict[int, str]:
    return {label: run["counts"] for label, run in encode_label_map(label_map, NUM_CLASSES).items()}


def encode_pycocotools(label_map: LabelMap) -> dict[int, str]:
    labels = [label for label in np.unique(label_map).tolist() if label != IGNORE_INDEX]
    masks = {label: np.asfortranarray((label_map == label).astype(np.uint8)) for label in labels}
    return {label: coco_mask.encode(mask)["counts"].decode() for label, mask in masks.items()}


def encode_pycocotools_transposed(label_map: LabelMap) -> dict[int, str]:
    """Transpose once, so that every comparison already gives the column order pycocotools wants."""
    columns = np.ascontiguousarray(label_map.T)
    labels = np.flatnonzero(np.bincount(columns.ravel())[:IGNORE_INDEX]).tolist()
    masks = {label: (columns == label).view(np.uint8).T for label in labels}
    return {label: coco_mask.encode(mask)["counts"].decode() for label, mask in masks.items()}


def main() -> None:
    regions = draw_regions((375, 500), 60, 21, seed=0)
    regions.flat[:21] = np.arange(21)  # all 21 classes occur
    inputs = {"regions": regions, "noise": draw_noise((375, 500), 21, seed=0)}
    annotations = read_annotations(26)
    if annotations:
        inputs["coco-free"] = max(annotations, key=lambda label_map: len(np.unique(label_map)))
    rows: list[Row] = []
    for name, label_map in inputs.items():
        functions = {
            "lexiseg": lambda label_map=label_map: encode_lexiseg(label_map),
            "pycocotools": lambda label_map=label_map: encode_pycocotools(label_map),
            "pycocotools, transposed once": lambda label_map=label_map: encode_pycocotools_transposed(
                label_map
            ),
        }
        results = [function() for function in functions.values()]
        assert all(result == results[0] for result in results), "the strings differ"
        height, width = label_map.shape
        rows += compare(functions, repeats=15, input=name, size=f"{height}×{width}", masks=len(results[0]))
    print_rows(rows, "Run lengths of all classes of one label map; ratio to lexiseg")
    write_json(Path(__file__).with_suffix(".json"), rows, ["numpy", "numba", "pycocotools"])


if __name__ == "__main__":
    main()
