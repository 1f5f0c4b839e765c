"""``lexiseg explain``: why pixels of an image got their labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.cli.options import (
    ClassesFile,
    Device,
    Licence,
    MethodChanges,
    ModelName,
    Trust,
    load_segmenter,
    option,
    read_words_if_given,
)
from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import InputError
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from rich.console import Console

    from lexiseg.core.explanation import Explanation


def parse_point(text: str) -> tuple[int, int]:
    """Read ``X,Y``.

    Raises:
        InputError: It is not two whole numbers.
    """
    try:
        x, y = (int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            doing="reading --point",
            found=repr(text),
            expected="two whole numbers, pixels from the left and from the top",
            fix="Write --point 120,80.",
        ) from error
    return x, y


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Say why pixels of an image got their labels: what decided, the runner-up, the margin.

    What decided depends on the method: words and their sentences, reference images, segments, masks, names of a classifier.
    """

    image: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="IMAGE", help="An image file.")]]
    words: Annotated[
        str | None,
        option(
            "WORDS",
            'Class names separated by commas: "cat, grass, sky". May be left out for a model with classes of its own.',
        ),
    ] = None
    classes_file: ClassesFile = None
    point: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        option(
            "X,Y",
            "A pixel, from the left and from the top; may be given several times. Without any, the deepest pixel of each of "
            "the largest regions.",
        ),
    ] = ()
    model: ModelName = "mini"
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    out: Annotated[Path | None, option("FILE", "Write an HTML sheet too, with images.")] = None
    json: Annotated[
        Path | None, option("FILE", "Write all of it as JSON too: a list with an entry a pixel.")
    ] = None
    device: Device = "auto"
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def run(self) -> int:
        """Explain and print; return the exit code."""
        import json

        from lexiseg.inference.explain import check_point, explain_pixel, explain_regions
        from lexiseg.inference.explanation_sheet import pixel_region, write_explanations

        points = [parse_point(text) for text in self.point]
        asked = read_words_if_given(self.words, self.classes_file)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        changes = self.inference.changes()
        settings = segmenter.settings.changed(**changes)
        encoded = segmenter.encode(self.image, **changes)
        size = (encoded.image.shape[0], encoded.image.shape[1])
        for point in points:
            check_point(point, size)
        names = segmenter.name_classes(segmenter.own_words() if asked is None else asked, settings)
        segmentation = segmenter.segment(encoded, names, **changes)
        if points:
            explained = []
            for point in points:
                each = explain_pixel(segmenter, encoded, names, segmentation, settings, point)
                explained.append((pixel_region(size, point) if each.region is None else each.region, each))
        else:
            explained = explain_regions(segmenter, encoded, names, segmentation, settings)
        console = open_console()
        for _, each in explained:
            print_explanation(console, each)
        if self.json is not None:
            with atomic_path(self.json) as temporary:
                content = [each.to_json() for _, each in explained]
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if self.out is not None:
            write_explanations(encoded.image, explained, self.out, self.image.name)
            print(f"The sheet is {self.out}")
        return 0


def print_explanation(console: "Console", explanation: "Explanation") -> None:
    """Print the verdict, the ranking and the evidence of one pixel."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    x, y = explanation.point
    console.print(
        f"pixel {x},{y}: {explanation.verdict()}", style="bold", markup=False, highlight=False, soft_wrap=True
    )
    table = Table(box=SIMPLE_HEAD, highlight=False)
    for heading in ("", "", "for", "value"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for ranked in explanation.ranking:
        table.add_row("class", ranked.name, "", f"{ranked.value:.3f} {explanation.measure}")
    for found in explanation.evidence:
        row = (found.name, found.supports, f"{found.value:.3f} {found.measure}")
        table.add_row(found.kind, *row)
    console.print(table)
    for note in explanation.notes:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
