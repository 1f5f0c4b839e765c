"""``lexiseg retrieve``: find captions by images and images by captions."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lexiseg.cli.caption_options import CAPTION_PATHS, CaptionFileOptions
from lexiseg.cli.data_options import refuse_trained_on
from lexiseg.cli.options import Device, Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.cli.progress import progress
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Retrieve(CaptionFileOptions):
    """Score a model by image-text retrieval: recall at 1, 5 and 10 both ways, and their sum.

    The model needs one space for whole images and sentences, as CLIP, SigLIP and SimSeg have.
    """

    model: tyro.conf.Positional[ModelName]
    captions: Annotated[Path, tyro.conf.arg(metavar="PATH", help=CAPTION_PATHS)]
    fit: Annotated[
        Literal["crop", "squash"] | None,
        option(
            "crop|squash",
            "From images to the model's square: the middle of a slightly larger one (SimSeg's protocol: 324 to 288 pixels), "
            "or the whole image squashed. The model's own way if left out.",
        ),
    ] = None
    json: Annotated[Path | None, option("FILE", "Write the scores there as well.")] = None
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"

    def run(self) -> int:
        """Score and print; return the exit code."""
        import json

        from rich.table import Table

        from lexiseg.core.atomic_write import atomic_path, refuse_unwritable
        from lexiseg.data.captions.opening import open_caption_source, read_samples
        from lexiseg.metrics.retrieval import RECALLS, retrieval_recall
        from lexiseg.scoring.image_text import as_image_text_model, embed_pairs, usual_fit

        source = open_caption_source(self.captions, columns=self.columns(), split=self.split)
        for note in source.notes:
            print(f"note: {note}", file=sys.stderr)
        if self.json is not None:
            refuse_unwritable(self.json)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        refuse_trained_on(
            segmenter,
            source.files,
            doing=f"scoring {self.model} on {self.captions}",
            fix="Choose other images with --split NAME, or name the split of these to score them all the same.",
            allowed=self.split is not None,
        )
        model = as_image_text_model(segmenter)
        with progress("embedding", len(source)) as advance:
            pairs = embed_pairs(model, read_samples(source), fit=self.fit, advance=advance)
        found = retrieval_recall((pairs.images @ pairs.texts.T).numpy(), pairs.image_of_text.numpy())
        rsum = 100 * sum((*found.image_to_text.values(), *found.text_to_image.values()))
        title = f"{len(pairs.images):,} images, {len(pairs.texts):,} captions"
        table = Table("", *(f"R@{k}" for k in RECALLS), title=title, highlight=False)
        for heading, row in (("image to text", found.image_to_text), ("text to image", found.text_to_image)):
            table.add_row(heading, *(f"{100 * row[k]:.1f}" for k in RECALLS))
        table.add_row("RSUM", f"{rsum:.1f}")
        open_console().print(table)
        if self.json is not None:
            facts = {
                "model": self.model,
                "captions": str(self.captions),
                "split": self.split,
                "fit": self.fit or usual_fit(model),
                "num_images": len(pairs.images),
                "num_captions": len(pairs.texts),
                "image_to_text": found.image_to_text,
                "text_to_image": found.text_to_image,
                "rsum": rsum,
            }
            with atomic_path(self.json) as temporary:
                temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return 0
