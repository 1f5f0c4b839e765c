"""Count a predictions store of 2,000 pairs of ADE20K's size, and export run lengths from one.

The pairs are drawn (Voronoi cells, predictions 9 pixels off), 20 of them different; every block is
read, checked and counted on its own. Two threads; memory is the peak of a fresh process.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from label_maps import draw_regions, shift
from pycocotools import mask as coco_mask
from timing import Row, compare, print_rows, write_json

from lexiseg.core.coco_rle import encode_label_map
from lexiseg.core.row_rle import decode_runs, encode_runs
from lexiseg.scoring.published import find_protocol
from lexiseg.scoring.score import score
from lexiseg.scoring.store.blocks import StoredImage
from lexiseg.scoring.store.counts import StoreCounter
from lexiseg.scoring.store.predictions import Manifest
from lexiseg.scoring.store.store import PredictionStore, StoreWriter

NUM_CLASSES = 150
SIZE = (512, 683)
NUM_IMAGES = 2000
NUM_DRAWN = 20
PROTOCOLS = ("mmseg", "present-only", "all-classes")


def write_store(
    folder: Path, num_images: int, size: tuple[int, int], num_classes: int, regions: int = 40
) -> None:
    names = tuple(f"class {label}" for label in range(num_classes))
    stems = tuple(f"{index:06}" for index in range(num_images))
    manifest = Manifest(
        vocabulary=names,
        synonyms=((),) * num_classes,
        background=None,
        class_of=tuple(range(num_classes)),
        classes=names,
        class_synonyms=((),) * num_classes,
        classes_background=None,
        seen=None,
        protocol=None,
        settings={"model": "drawn", "background": "none"},
        data="drawn",
        split=None,
        data_fingerprint="",
        stems=stems,
    )
    drawn = [draw_regions(size, regions, num_classes, seed) for seed in range(min(num_images, NUM_DRAWN))]
    runs = [(encode_runs(label_map), encode_runs(shift(label_map, 9))) for label_map in drawn]
    with StoreWriter(folder, manifest) as writer:
        for index, stem in enumerate(stems):
            true, predicted = runs[index % len(runs)]
            writer.append(StoredImage(stem=stem, size=size, predicted=predicted, true=true, top=None))


def time_store(folder: Path) -> None:
    """Open, count and score one store; print seconds and peak memory. Runs in a process of its own."""
    PredictionStore(folder)  # the page cache and the compiled kernels are warm
    warm = PredictionStore(folder)
    StoreCounter(warm, stems=warm.stems[:2]).counts()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    counter = StoreCounter(PredictionStore(folder))
    counter.counts()
    counted = time.perf_counter()
    after_count = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in PROTOCOLS:
        assert score(counter, find_protocol(name)).intervals.low.size  # drawn when read
    scored = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(counted - start, scored - counted, (after_count - before) / 1024, (after - before) / 1024)


def measure(folder: Path, repeats: int) -> list[list[float]]:
    found = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, __file__, str(folder)], capture_output=True, text=True, check=True
        )
        found.append([float(word) for word in done.stdout.split()])
    return [sorted(column) for column in zip(*found, strict=True)]


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for num_images in (200, NUM_IMAGES):
            folder = Path(temporary) / str(num_images)
            write_store(folder, num_images, SIZE, NUM_CLASSES)
            megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
            counting, scoring, count_growth, growth = measure(folder, 5)
            rows.append(
                {
                    "images": num_images,
                    "gigapixels": round(num_images * SIZE[0] * SIZE[1] / 1e9, 3),
                    "store_mb": round(megabytes, 1),
                    "count_s_median": round(counting[len(counting) // 2], 3),
                    "count_s_slowest": round(counting[-1], 3),
                    "score_3_protocols_s": round(scoring[len(scoring) // 2], 3),
                    "memory_growth_count_mb": round(count_growth[len(growth) // 2], 1),
                    "memory_growth_mb": round(growth[len(growth) // 2], 1),
                }
            )
        folder = Path(temporary) / "voc"
        write_store(folder, 1, (375, 500), 21, regions=60)
        store = PredictionStore(folder)
        (image,) = store
        label_map = decode_runs(image.predicted, image.size)

        def export_lexiseg() -> dict[int, str]:
            image = store["000000"]
            found = encode_label_map(decode_runs(image.predicted, image.size), 21)
            return {label: run["counts"] for label, run in found.items()}

        def export_pycocotools() -> dict[int, str]:
            masks = {
                int(label): np.asfortranarray((label_map == label).astype(np.uint8))
                for label in np.unique(label_map)
            }
            return {label: coco_mask.encode(mask)["counts"].decode() for label, mask in masks.items()}

        assert export_lexiseg() == export_pycocotools(), "the strings differ"
        export = compare(
            {"store": export_lexiseg, "pycocotools, map in memory": export_pycocotools},
            repeats=15,
            masks=len(export_lexiseg()),
        )
    print_rows(rows, "Count a store on two threads")
    print_rows(export, "Run lengths of all classes of one image of a store; ratio to it")
    write_json(Path(__file__).with_suffix(".json"), rows, ["numpy", "numba", "pycocotools"], export=export)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        time_store(Path(sys.argv[1]))
    else:
        main()
