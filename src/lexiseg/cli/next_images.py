"""``lexiseg next``: which images to mask next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.fit import Backbone, FolderPath, count_images
from lexiseg.cli.options import Licence, option, refuse_networks
from lexiseg.cli.progress import progress


@dataclass(frozen=True, kw_only=True)
class NextImages:
    """Choose the images to mask next: where the model is unsure, and all unlike.

    A head on frozen features is fitted to the labels that are there. Chosen are images without masks, one by one, where the
    product of its doubt and of the distance to images that have masks or were chosen is greatest. Features are kept.
    """

    folder: Annotated[FolderPath, tyro.conf.Positional]
    num: Annotated[int, option("N", "How many images.")] = 20
    backbone: Backbone = "auto"
    json: Annotated[Path | None, option("FILE", "Write the choice as JSON.")] = None
    licence: Licence = "any"

    def run(self) -> int:
        """Choose and print; return the exit code."""
        from lexiseg.core.errors import InputError
        from lexiseg.data.folder import FolderDataset
        from lexiseg.methods.frozen_head.fitting import fit_head
        from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
        from lexiseg.recipes.frozen_head import default_backbone, num_alike, open_describer
        from lexiseg.runs.next_images import choose_next
        from lexiseg.runs.own_labels import describe, evidence_of, kinds_in
        from lexiseg.scoring.report import write_json

        backbone = default_backbone() if self.backbone == "auto" else self.backbone
        settings = FrozenHeadSettings(backbone=backbone)
        refuse_networks(backbone, self.licence, settings)
        dataset = FolderDataset(self.folder)
        if self.num < 1 or not dataset.num_unlabelled:
            raise InputError(
                doing="choosing images to mask",
                found=f"--num {self.num}" if self.num < 1 else "no image without masks",
                expected="one or more of the images without masks",
                fix="Leave --num out for 20." if self.num < 1 else "Put further images into images/.",
            )
        names = dataset.vocabulary.names
        describer = open_describer(settings, dataset.vocabulary)
        with progress("images", count_images(self.folder)) as advance:
            described = describe(dataset, describer, dataset.vocabulary, settings, advance)
        kinds = kinds_in(described, dataset.vocabulary)
        evidence = [evidence_of(image, dataset.vocabulary, kinds) for image in described]
        head = fit_head(evidence, len(names), settings, num_alike=num_alike(describer))
        places = [place for place, image in enumerate(described) if image.shares is None]
        chosen = choose_next(
            [described[place] for place in places],
            [image for image in described if image.shares is not None],
            head,
            self.num,
        )
        rows = []
        print(f"Mask these {len(chosen)} of {len(places):,} images without masks next:")
        for choice in chosen:
            place = places[choice.place]
            looks_like = [names[label] for label in choice.unsure_of]
            rows.append(
                {
                    "stem": dataset.stems[place],
                    "file": str(dataset.image_path(place)),
                    "doubt": round(choice.uncertainty, 4),
                    "distance": round(choice.distance, 4),
                    "looks_like": looks_like,
                }
            )
            print(
                f"  {dataset.image_path(place)}   doubt {choice.uncertainty:.2f}, perhaps {', '.join(looks_like)}"
            )
        if self.json is not None:
            write_json({"backbone": backbone, "labels": list(kinds), "images": rows}, self.json)
        return 0
