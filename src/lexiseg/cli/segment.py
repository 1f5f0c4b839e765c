"""``lexiseg segment``: images and words in, label maps out."""

import errno
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lexiseg.cli.export import export_results
from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.cli.jobs import is_done, plan_jobs
from lexiseg.cli.options import (
    Bands,
    Device,
    Licence,
    MethodChanges,
    ModelName,
    Trust,
    ValueRangeText,
    load_segmenter,
    option,
    read_vocabulary,
)
from lexiseg.cli.progress import progress
from lexiseg.cli.result_folder import claimed, count_other_results
from lexiseg.core.errors import ImageError, OutputError
from lexiseg.core.result_files import image_facts
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rich.console import Console

    from lexiseg.core.segmentation import Segmentation

#: With more images than this, one table for all of them is printed instead of one each.
MAX_TABLES = 8

#: The file system takes no such name: too long with all its folders, or with letters it does not know.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Segment images by words.

    Writes a 16-bit label map, an overlay with a legend and a JSON per image. The same command
    run again goes on where it stopped. A folder holds the results of one request: other words need another
    folder, or --overwrite.
    """

    paths: tyro.conf.Positional[
        Annotated[
            tuple[str, ...],
            option("PATHS", "Image files, folders (searched with their subfolders) and globs."),
        ]
    ]
    words: Annotated[
        str | None,
        option(
            "WORDS",
            'Class names separated by commas: "cat, grass, sky". Quote a name that holds a comma. May be left out for '
            "a model with classes of its own, which then labels with all of them.",
        ),
    ] = None
    classes_file: Annotated[
        Path | None, option("FILE", "Class names one a line, synonyms after a tab; instead of --words.")
    ] = None
    model: ModelName = "mini"
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="Where results go.")] = Path("segmented")
    overwrite: Annotated[
        bool,
        tyro.conf.arg(
            help="Segment images again whose results are already there, also where they are of other words.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    device: Device = "auto"
    explain: Annotated[
        bool,
        tyro.conf.arg(
            help="Write why the largest regions got their labels, as STEM.explain.html.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    unknown: Annotated[
        bool,
        tyro.conf.arg(
            help="Make pixels void that score no higher than words which are not there: --none-of-these label.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    format: Annotated[
        tuple[str, ...],
        option(
            "NAME …",
            "Write all results of the folder in these formats too, there: coco, coco-results, coco-panoptic, voc, yolo, "
            "labelme, cvat, cvat-masks, label-studio, label-studio-brush, png, table (Parquet).",
        ),
    ] = ()
    bands: Bands = None
    value_range: ValueRangeText = None
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def run(self) -> int:
        """Segment every image; return the exit code."""
        from concurrent.futures import ThreadPoolExecutor

        from lexiseg.data.formats.known_formats import known_format
        from lexiseg.data.image_files import PassedOver
        from lexiseg.data.images import ImageSource, ValueRange, load_image
        from lexiseg.data.rasters import parse_bands, rasterio_package, read_bands
        from lexiseg.inference.explain import explain_regions
        from lexiseg.inference.explanation_sheet import write_explanations

        value_range = None if self.value_range is None else ValueRange.parse(self.value_range)
        bands = None if self.bands is None else parse_bands(self.bands)
        if bands is not None:
            rasterio_package()
        how_read = {"value_range": self.value_range, "bands": self.bands}
        how_read = {name: given for name, given in how_read.items() if given is not None}
        formats = {name: known_format(name) for name in self.format}
        has_words = self.words is not None or self.classes_file is not None
        asked = read_vocabulary(self.words, self.classes_file) if has_words else None
        passed_over = PassedOver()
        jobs = plan_jobs(self.paths, self.out, passed_over)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        vocabulary = segmenter.own_words() if asked is None else asked
        changes = self.inference.changes()
        if self.unknown:
            changes = {"none_of_these": "label", **changes}
        request = segmenter.describe(vocabulary, **changes)
        request["settings"].update(how_read)
        console = open_console()
        totals: dict[str, list[float]] = {}
        # Texts: an error holds on to all that its frames held, words' embeddings too.
        failed: list[tuple[Path, str]] = []
        skipped = doubtful = 0
        used = segmenter.settings.changed(**changes)
        # Words that cannot be used must not claim the folder.
        class_names = segmenter.name_classes(vocabulary, used)
        with (
            claimed(self.out, request, [stem for _, stem in jobs], overwrite=self.overwrite),
            ThreadPoolExecutor(max_workers=1) as writer,
            progress("segmenting", len(jobs), console) as advance,
        ):
            writing: tuple[Path, Future[dict[str, Path]]] | None = None
            for path, stem in jobs:
                photo = image_facts(path)  # before it is read: a later change makes it new
                sheet = self.out / f"{stem}.explain.html"
                is_explained = not self.explain or sheet.is_file()
                if not self.overwrite and is_explained and is_done(self.out, stem, photo, request):
                    skipped += 1
                    advance()
                    continue
                try:
                    image: ImageSource = path
                    if bands is not None:
                        image = read_bands(path, bands, value_range)
                    elif value_range is not None:
                        image = load_image(path, value_range)
                    encoded = segmenter.encode(image, **changes)
                    segmentation = segmenter.segment(encoded, class_names, **changes)
                    if how_read:
                        settings = {**segmentation.settings, **how_read}
                        segmentation = replace(segmentation, source=path, settings=settings)
                    if self.explain:
                        why = explain_regions(segmenter, encoded, class_names, segmentation, used)
                        write_explanations(encoded.image, why, sheet, path.name)
                except ImageError as error:
                    failed.append((path, f"{error.found}. {error.fix}"))
                    advance()
                    continue
                if writing is not None:  # at most one image waits
                    _finish(*writing, failed)
                writing = path, writer.submit(segmentation.save, self.out, stem, image=photo)
                doubtful += segmentation.is_doubtful
                for share in segmentation.shares():
                    totals.setdefault(share.name, []).append(share.share)
                if len(jobs) <= MAX_TABLES:
                    print_shares(console, segmentation, path)
                advance()
            if writing is not None:
                _finish(*writing, failed)
        finished = len(jobs) - skipped - len(failed)
        if len(jobs) > MAX_TABLES and totals:
            _print_totals(console, totals, finished)
        kept = f", {skipped} already there" if skipped else ""
        # Soft wrap: paths are copied from here, and in a pipe a line is a line.
        plain: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
        how = "" if segmenter.variant is None else f" ({self.model}, {segmenter.variant})"
        console.print(
            f"{finished} segmented{how}{kept}, {len(failed)} failed; results in {self.out}", **plain
        )
        if doubtful and len(jobs) > MAX_TABLES:
            console.print(
                f"note: {doubtful:,} images perhaps show none of the words (absent_chance in their JSON)",
                **plain,
            )
        if self.overwrite and (others := count_other_results(self.out, request)):
            console.print(f"note: {others} results of other words or settings are still there", **plain)
        if passed_over:
            print(f"note: not looked at: {passed_over.text()}", file=sys.stderr)
        for name, chosen in formats.items() if finished or skipped else ():
            export_results(self.out, chosen, self.out / f"{name}{chosen.suffix}")
        for path, problem in failed:
            console.print(f"  failed: {path}: {problem}", style="red", **plain)
        return 1 if failed else 0


def _finish(path: Path, writing: "Future[dict[str, Path]]", failed: list[tuple[Path, str]]) -> None:
    """Wait until an image's results are written; a full disk stops the run, a bad name does not."""
    try:
        writing.result()
    except OutputError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in _BAD_NAME:
            raise
        fix = "Rename the image, or choose another folder with --out."
        failed.append((path, f"{error.found}. {fix}"))


def print_shares(console: "Console", segmentation: "Segmentation", path: Path) -> None:
    """Print an image's classes, their share of its pixels and mean score, the largest first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(path, style="bold", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, highlight=False)
    table.add_column("class")
    table.add_column("pixels", justify="right")
    table.add_column("mean score", justify="right")
    for share in segmentation.shares():
        table.add_row(share.name, f"{share.share:.1%}", f"{share.mean_score:.3f}")
    if segmentation.unknown_share:
        why = "no reference is near" if segmentation.absent_chance is None else "absent words score as high"
        table.add_row(f"unknown: {why}", f"{segmentation.unknown_share:.1%}", "", style="yellow")
    console.print(table)
    for note in result_notes(segmentation):
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def result_notes(segmentation: "Segmentation") -> list[str]:
    """Say what must be known of a result: that it may show none of the words, and how a large image was seen."""
    notes = []
    if segmentation.is_doubtful:
        assert segmentation.absent_chance is not None
        notes.append(
            f"perhaps none of these words is in the image: in {segmentation.absent_chance:.0%} of photographs, words "
            "that are not there score as high"
        )
    if segmentation.tiling is not None:
        height, width = segmentation.tiling["windows_size"]
        notes.append(
            f"a large image: seen {'whole and ' if segmentation.tiling['views'] != 'windows' else ''}in "
            f"{segmentation.tiling['num_windows']} windows at {width}×{height}; "
            "--tiles off sees it whole only"
        )
    return notes


def _print_totals(console: "Console", totals: dict[str, list[float]], num_images: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(f"{num_images} images", style="bold", highlight=False)
    table = Table(box=SIMPLE_HEAD, highlight=False)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("pixels", justify="right")
    for name, shares in sorted(totals.items(), key=lambda item: -sum(item[1])):
        table.add_row(name, str(len(shares)), f"{sum(shares) / num_images:.1%}")
    console.print(table)
