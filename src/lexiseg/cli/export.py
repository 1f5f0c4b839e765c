"""``lexiseg export``: the masks of a predictions store for other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from lexiseg.data.formats.coco import CocoCategories
    from lexiseg.scoring.store.predictions import Manifest


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the masks of a predictions store as COCO annotations.

    Results are the list that COCO.loadRes of pycocotools reads: each mask has image_id, category_id, score,
    segmentation, area, bbox and category_name. A data set also has images and categories, as COCO() reads it.
    Category ids are the published ones of COCO and Cityscapes; of other data sets, labels from 0.
    """

    store: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="STORE", help="What lexiseg predict wrote.")]
    ]
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE", help="The JSON to write.")]]
    format: Annotated[
        Literal["results", "dataset"],
        tyro.conf.arg(metavar="results|dataset", help="A list of masks, or images, categories and masks."),
    ] = "results"
    truth: Annotated[
        bool,
        tyro.conf.arg(
            help="Write the true label maps, as a data set to compare results with.", help_behavior_hint=""
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    overwrite: Annotated[
        bool,
        tyro.conf.arg(help="Replace the file if it is there.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False

    def run(self) -> int:
        """Write and say how much; return the exit code."""
        from lexiseg.core.errors import InputError
        from lexiseg.data.formats.coco import write_coco
        from lexiseg.scoring.report import store_notes
        from lexiseg.scoring.store.masks import coco_categories, predicted_masks, true_masks
        from lexiseg.scoring.store.store import PredictionStore

        if self.out.exists() and not self.overwrite:
            raise InputError(
                doing=f"writing masks into {self.out}",
                found="a file of that name" if self.out.is_file() else "a folder of that name",
                expected="a name that is not taken",
                fix="Give another name" + (", or --overwrite." if self.out.is_file() else "."),
            )
        store = PredictionStore(self.store)
        manifest = store.manifest
        categories = coco_categories(manifest)
        num_masks = write_coco(
            true_masks(store) if self.truth else predicted_masks(store),
            categories,
            self.out,
            layout="dataset" if self.truth else self.format,
            description=f"{'true masks' if self.truth else 'masks'} of {manifest.data}",
        )
        print(f"{num_masks:,} masks of {len(store):,} images in {self.out}")
        for note in [*store_notes(store), *_notes(manifest, categories)]:
            print(f"note: {note}")
        return 0


def _notes(manifest: "Manifest", categories: "CocoCategories") -> list[str]:
    """Say what a person would look for in vain."""
    from lexiseg.core.constants import IGNORE_INDEX
    from lexiseg.data.formats.coco import number_images

    notes = []
    numbers = number_images(manifest.stems)
    if any(not stem.isdecimal() or int(stem) != number for stem, number in numbers.items()):
        notes.append(
            "image_id counts the images of the data set from 1, because not all are named by numbers of their own; "
            "--format dataset lists which is which"
        )
    left_out = [
        name
        for name, label in zip(manifest.vocabulary, manifest.class_of, strict=True)
        if label == IGNORE_INDEX or categories.ids[label] is None
    ]
    if left_out:
        notes.append(f"no category of the data set, and therefore without masks: {', '.join(left_out)}")
    return notes
