"""``lexiseg export``: the masks of a predictions store for other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the masks of a predictions store as COCO annotations.

    The list is readable by pycocotools.

    category_id is the label, in the order of the vocabulary in the store's manifest.json.
    """

    store: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="STORE", help="What lexiseg predict wrote.")]
    ]
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE", help="The JSON to write.")]]

    def run(self) -> int:
        """Write and say how much; give the exit code."""
        from lexiseg.scoring.report import store_notes
        from lexiseg.scoring.store.export import export_coco
        from lexiseg.scoring.store.store import PredictionStore

        store = PredictionStore(self.store)
        num_masks = export_coco(store, self.out)
        print(f"{num_masks:,} masks of {len(store):,} images in {self.out}")
        for note in store_notes(store):
            print(f"note: {note}")
        return 0
