"""``lexiseg fit``: a segmenter out of a person's own folder, in minutes without a GPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lexiseg.cli.options import Licence, option, refuse_networks
from lexiseg.cli.progress import progress

FolderPath = Annotated[
    Path,
    tyro.conf.arg(
        metavar="FOLDER",
        help="classes.txt, images/ and the labels you have, or annotations of another tool; lexiseg start says more.",
    ),
]
Backbone = Annotated[
    str,
    option(
        "auto|NAME|ID|FOLDER",
        "Frozen network: efficientnet-lite0, dinov2-small or another DINOv2; auto takes dinov2-small where it is here.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a segmenter to your own folder: frozen features and a regression, minutes without a GPU.

    Every image goes once through a frozen network, whose features are kept; what you know of the images (masks, tags,
    words of captions, or class names alone) is then learnt in closed form, and the images of val.txt are scored.
    """

    folder: Annotated[FolderPath, tyro.conf.Positional]
    out: Annotated[Path, tyro.conf.arg(metavar="HEAD", help="Folder that the model goes to.")]
    use: Annotated[
        str,
        option("KIND,…", "Labels to learn from: masks, tags, captions, names. All that help if left out."),
    ] = ""
    backbone: Backbone = "auto"
    prior: Annotated[
        Literal["mini", "none"],
        option("mini|none", "What is known of class names before anything is learnt."),
    ] = "mini"
    penalty: Annotated[float, option("NUMBER", "Of the regression: more keeps closer to the prior.")] = 1000.0
    json: Annotated[Path | None, option("FILE", "Write score, times and settings as JSON.")] = None
    overwrite: Annotated[bool, option("", "Replace a model that is there.")] = False
    licence: Licence = "any"

    def run(self) -> int:
        """Fit, score and say what comes next; return the exit code."""
        from dataclasses import asdict

        from lexiseg.data.folder import FolderDataset
        from lexiseg.engine.pace import duration
        from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
        from lexiseg.recipes.frozen_head import default_backbone
        from lexiseg.runs.after_training import farewell, words_of
        from lexiseg.runs.fit import fit, load_head, score, scored_images, scores_of, training_images
        from lexiseg.scoring.report import write_json

        backbone = default_backbone() if self.backbone == "auto" else self.backbone
        settings = FrozenHeadSettings(backbone=backbone, prior=self.prior, penalty=self.penalty)
        refuse_networks(backbone, self.licence, settings)
        kinds = tuple(kind.strip() for kind in self.use.split(",") if kind.strip())
        learnt = training_images(self.folder, FolderDataset(self.folder))
        with progress("images", len(learnt)) as advance:
            found = fit(self.folder, self.out, settings, use=kinds, overwrite=self.overwrite, advance=advance)
        print(
            f"learnt from {', '.join(found.labels)} of {found.num_images:,} images with {backbone}: features "
            f"{duration(found.encode_seconds)}, regression {duration(found.fit_seconds)}"
        )
        model = load_head(self.out)
        model.name = str(self.out)
        with progress("scoring", len(scored_images(self.folder) or ())) as advance:
            report = score(model, self.folder, advance)
        scores = scores_of(report)
        if self.json is not None:
            content = {"scores": scores, "fit": asdict(found), "settings": asdict(settings)}
            write_json(content if report is None else {**content, "report": report.as_json()}, self.json)
        print(farewell(self.out, scores=scores, words=words_of(model), data=self.folder))
        return 0


def count_images(folder: Path) -> int:
    """Count the images of a folder, for a bar."""
    from lexiseg.data.folder import FolderDataset

    return len(FolderDataset(folder))
