"""``lexiseg exchange``: what masks, tags, captions and names are worth on a person's own images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lexiseg.cli.fit import Backbone, FolderPath, count_images
from lexiseg.cli.options import Licence, option, refuse_networks
from lexiseg.cli.progress import progress
from lexiseg.core.terminal import open_console
from lexiseg.core.whole_numbers import whole_number

if TYPE_CHECKING:
    from lexiseg.runs.exchange import Regime


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Measure what masks, tags, captions and names are worth on your own labelled images.

    The images with masks are divided anew several times: two thirds lend labels to a head on frozen features, one third is
    scored. Minutes for 300 images; features are kept.
    """

    folder: Annotated[FolderPath, tyro.conf.Positional]
    masks: Annotated[str, option("N,…", "Numbers of masks a class to try, beside all.")] = "10,20,50"
    divisions: Annotated[int, option("N", "How often images are divided anew.")] = 5
    backbone: Backbone = "auto"
    plot: Annotated[Path | None, option("FILE", "Draw the learning curve into a PNG.")] = None
    json: Annotated[Path | None, option("FILE", "Write all numbers as JSON.")] = None
    licence: Licence = "any"

    def run(self) -> int:
        """Measure, print and draw; return the exit code."""
        from lexiseg.data.folder import FolderDataset
        from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
        from lexiseg.recipes.frozen_head import default_backbone, num_alike, open_describer
        from lexiseg.runs.exchange import exchange_rate, gain
        from lexiseg.runs.own_labels import describe
        from lexiseg.scoring.report import write_json

        masks = self._masks()
        backbone = default_backbone() if self.backbone == "auto" else self.backbone
        settings = FrozenHeadSettings(backbone=backbone)
        refuse_networks(backbone, self.licence, settings)
        dataset = FolderDataset(self.folder)
        describer = open_describer(settings, dataset.vocabulary)
        with progress("images", count_images(self.folder)) as advance:
            described = describe(dataset, describer, dataset.vocabulary, settings, advance)
        with progress("fits", self.divisions * (len(masks) + 3)) as advance:
            found = exchange_rate(
                described,
                dataset.vocabulary,
                settings,
                num_alike=num_alike(describer),
                masks=masks,
                divisions=self.divisions,
                advance=advance,
            )
        self._print(found)
        best, by, (low, high) = gain(found)
        points = f"{100 * by:+.1f} points of mean IoU over tags alone ({100 * low:+.1f} to {100 * high:+.1f})"
        sentence = f"{best.name} gain {points}."
        print(sentence[0].upper() + sentence[1:])
        if self.plot is not None:
            self._draw(found, self.plot)
        if self.json is not None:
            write_json(_as_json(found, self.divisions, backbone, sentence), self.json)
        return 0

    def _masks(self) -> tuple[int, ...]:
        from lexiseg.core.errors import InputError

        numbers = [whole_number(part) or 0 for part in self.masks.split(",") if part.strip()]
        if not numbers or min(numbers) < 1 or self.divisions < 1:
            raise InputError(
                doing="reading how labels are to be compared",
                found=f"--masks {self.masks} --divisions {self.divisions}",
                expected="whole numbers from 1 on, such as 10,20,50",
                fix="Leave them out.",
            )
        return tuple(sorted(set(numbers)))

    def _print(self, found: "list[Regime]") -> None:
        from rich.table import Table

        table = Table(title="What labels are worth", highlight=False)
        for heading in ("labels", "images with masks", "mean IoU %", "95 %"):
            table.add_column(heading, justify="left" if heading == "labels" else "right")
        for regime in found:
            low, high = regime.interval
            table.add_row(
                regime.name,
                f"{regime.images:.0f}",
                f"{100 * regime.value:.1f}",
                f"{100 * low:.1f} to {100 * high:.1f}",
            )
        open_console(highlight=False).print(table)

    def _draw(self, found: "list[Regime]", path: Path) -> None:
        from lexiseg.core.atomic_write import atomic_path
        from lexiseg.scoring.curve_plot import Point, draw_curve

        points = []
        for regime in found:
            low, high = regime.interval
            points.append(
                Point(name=regime.name, value=regime.value, low=low, high=high, is_level=regime.masks == 0)
            )
        title = f"{self.folder.name}: mean IoU of classes that occur, 95 % over {self.divisions} divisions and draws of images"
        with atomic_path(path) as temporary:
            draw_curve(title, points).save(temporary, format="PNG")


def _as_json(found: "list[Regime]", divisions: int, backbone: str, sentence: str) -> dict[str, Any]:
    return {
        "backbone": backbone,
        "divisions": divisions,
        "says": sentence,
        "regimes": [
            {
                "labels": regime.name,
                "images_with_masks": regime.images,
                "mean_iou": regime.value,
                "interval": list(regime.interval),
                "of_each_division": regime.values.tolist(),
            }
            for regime in found
        ],
    }
