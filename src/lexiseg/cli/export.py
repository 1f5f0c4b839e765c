"""``lexiseg export``: label maps for other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lexiseg.data.formats.annotations import LabelledImage
    from lexiseg.data.formats.coco import CocoCategories
    from lexiseg.data.formats.known_formats import Format
    from lexiseg.scoring.store.predictions import Manifest


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write label maps in the formats of other tools: COCO, VOC, YOLO, LabelMe, CVAT, Label Studio.

    From what lexiseg segment or lexiseg predict wrote. Formats: coco-results (the list that COCO.loadRes reads), coco (a data
    set with images and categories), coco-panoptic, voc, yolo, labelme, cvat, cvat-masks, label-studio, label-studio-brush, png,
    table (Parquet: a row for every class of every image).
    Of stores, category ids are the published ones of COCO and Cityscapes; otherwise labels from 0.
    """

    source: tyro.conf.Positional[
        Annotated[
            Path,
            tyro.conf.arg(
                metavar="SOURCE", help="A folder of lexiseg segment, or a store of lexiseg predict."
            ),
        ]
    ]
    out: tyro.conf.Positional[
        Annotated[
            Path,
            tyro.conf.arg(
                metavar="OUT", help="The file, or for voc, yolo, labelme and png the folder, to write."
            ),
        ]
    ]
    format: Annotated[str, tyro.conf.arg(metavar="NAME", help="One of the formats above.")] = "coco-results"
    truth: Annotated[
        bool,
        tyro.conf.arg(
            help="Write the true label maps of a store, as a data set to compare results with.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    overwrite: Annotated[
        bool,
        tyro.conf.arg(help="Replace what is there.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False

    def run(self) -> int:
        """Write and say how much; return the exit code."""
        from lexiseg.data.formats.known_formats import known_format

        chosen = known_format("coco" if self.truth and self.format == "coco-results" else self.format)
        _refuse_existing(self.out, overwrite=self.overwrite)
        if (self.source / "manifest.json").is_file():
            return self._export_store(chosen)
        if self.truth:
            raise InputError(
                doing="reading the options",
                found=f"--truth with {self.source}, which is no predictions store",
                expected="a store of lexiseg predict, which keeps true label maps",
                fix="Leave --truth out.",
            )
        export_results(self.source, chosen, self.out)
        return 0

    def _export_store(self, chosen: "Format") -> int:
        from lexiseg.scoring.report import store_notes
        from lexiseg.scoring.store.masks import coco_categories, predicted_masks, true_masks
        from lexiseg.scoring.store.store import PredictionStore

        store = PredictionStore(self.source)
        manifest = store.manifest
        categories = coco_categories(manifest)
        images = true_masks(store) if self.truth else predicted_masks(store)
        _write(images, categories, chosen, self.out, len(store))
        for note in [*store_notes(store), *_notes(manifest, categories)]:
            print(f"note: {note}")
        return 0


def export_results(folder: Path, chosen: "Format", out: Path) -> None:
    """Write the results of a folder of ``lexiseg segment``, and print how much."""
    from lexiseg.core.result_files import has_parts
    from lexiseg.data.formats.coco import CocoCategories
    from lexiseg.data.formats.result_shards import SegmentedShards
    from lexiseg.data.formats.segmented import SegmentedFolder

    results = SegmentedShards(folder) if has_parts(folder) else SegmentedFolder(folder)
    categories = CocoCategories(names=results.names, ids=tuple(range(len(results.names))))
    _write(results, categories, chosen, out, len(results))
    if results.passed_over:
        print(f"note: {results.passed_over.note(folder)}")


def _write(
    images: "Iterable[LabelledImage]",
    categories: "CocoCategories",
    chosen: "Format",
    out: Path,
    num_images: int,
) -> None:
    count = chosen.write(images, categories, out)
    print(f"{count:,} {chosen.counted} of {num_images:,} images in {out}")


def _refuse_existing(out: Path, *, overwrite: bool) -> None:
    if not overwrite and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise InputError(
            doing=f"writing {out}",
            found="a file of that name" if out.is_file() else "a folder that is not empty",
            expected="a new file or folder",
            fix="Choose another name, or replace what is there with --overwrite.",
        )


def _notes(manifest: "Manifest", categories: "CocoCategories") -> list[str]:
    """Say what a person would look for in vain."""
    from lexiseg.core.constants import IGNORE_INDEX
    from lexiseg.core.whole_numbers import whole_number
    from lexiseg.data.formats.coco import number_images

    notes = []
    numbers = number_images(manifest.stems)
    if any(whole_number(stem) != number for stem, number in numbers.items()):
        notes.append(
            "image_id counts the images of the data set from 1, because not all are named by numbers of their own; "
            "--format coco lists which is which"
        )
    left_out = [
        name
        for name, label in zip(manifest.vocabulary, manifest.class_of, strict=True)
        if label == IGNORE_INDEX or categories.ids[label] is None
    ]
    if left_out:
        notes.append(f"no category of the data set, and therefore without masks: {', '.join(left_out)}")
    return notes
