"""``lexiseg calibrate``: choose the background threshold on a training split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Choose a background threshold on a store of training images.

    The threshold is the one with the highest mean IoU there.

    A store of a validation or test split is refused: a threshold fitted to the images it is scored on
    says nothing.
    """

    store: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="STORE", help="What lexiseg predict wrote for the split.")]
    ]
    protocol: Annotated[str, tyro.conf.arg(metavar="NAME", help="Whose mean is to be highest.")] = "mmseg"
    partial: Annotated[
        bool,
        tyro.conf.arg(help="Choose on what is there though images are missing.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False

    def run(self) -> int:
        """Sweep and print; return the exit code."""
        from rich.table import Table

        from lexiseg.scoring.calibrate import calibrate
        from lexiseg.scoring.published import find_protocol
        from lexiseg.scoring.store.store import PredictionStore

        found = calibrate(PredictionStore(self.store), find_protocol(self.protocol), partial=self.partial)
        table = Table(title=f"{found.num_images:,} images of {found.split}, {self.protocol}", highlight=False)
        table.add_column("threshold", justify="right")
        table.add_column("IoU %", justify="right")
        step = max(1, len(found.thresholds) // 16)
        for index in range(0, len(found.thresholds), step):
            table.add_row(f"{found.thresholds[index]:.4f}", f"{100 * found.mean_iou[index]:.2f}")
        open_console().print(table)
        print(
            f"best: --background threshold --threshold {found.best:.4g} ({100 * max(found.mean_iou):.2f} %)"
        )
        print("Freeze it: predict the test split with these two options, and say where it was chosen.")
        return 0
