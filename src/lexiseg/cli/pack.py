"""``lexiseg pack``: a model as a folder for the hub, with a model card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.options import ModelName, Trust, option


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Write a model as a folder in the hub's layout, with a model card: config.json, model.safetensors, README.md.

    For a finished run, a head of lexiseg fit, or a checkpoint. lexiseg.load and --model take the folder, and give the same bits
    as the run. Nothing is uploaded.
    """

    model: tyro.conf.Positional[ModelName]
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="A new or empty folder.")]
    report: Annotated[
        tuple[Path, ...],
        tyro.conf.UseAppendAction,
        option(
            "FILE",
            "JSON of lexiseg evaluate or lexiseg score, whose numbers the card shows with their intervals; may be given "
            "several times.",
        ),
    ] = ()
    licence: Annotated[
        str | None,
        option("SPDX", "Licence under which you give the weights that you trained, such as Apache-2.0."),
    ] = None
    trust: Trust = False

    def run(self) -> int:
        """Write, say what was written, and return the exit code."""
        from lexiseg.runs.licences import strictest
        from lexiseg.runs.pack import pack

        parts = pack(self.model, self.out, reports=self.report, licence=self.licence, trust=self.trust)
        most = strictest(parts)
        print(f"{self.out}: {', '.join(sorted(file.name for file in self.out.iterdir()))}")
        print(f"parts: {len(parts)}; strictest licence: {most.licence}, of {most.name}")
        print(f"use it: lexiseg segment photo.jpg --model {self.out}")
        return 0
