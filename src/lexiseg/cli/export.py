"""``lexiseg export``: the masks of a predictions store for other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the masks of a predictions store as COCO annotations.

    The list is readable by pycocotools; each mask has image_id, category_id (the label), category_name,
    segmentation, area and bbox.
    """

    store: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="STORE", help="What lexiseg predict wrote.")]
    ]
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE", help="The JSON to write.")]]

    def run(self) -> int:
        """Write and say how much; return the exit code."""
        from lexiseg.core.row_rle import decode_runs
        from lexiseg.data.formats.coco import write_coco
        from lexiseg.scoring.report import store_notes
        from lexiseg.scoring.store.store import PredictionStore

        store = PredictionStore(self.store)
        vocabulary = store.manifest.to_vocabulary()
        images = ((image.stem, decode_runs(image.predicted, image.size), vocabulary) for image in store)
        num_masks = write_coco(images, self.out)
        print(f"{num_masks:,} masks of {len(store):,} images in {self.out}")
        for note in store_notes(store):
            print(f"note: {note}")
        return 0
