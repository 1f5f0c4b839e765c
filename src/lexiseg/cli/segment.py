"""``lexiseg segment``: images and words in, label maps out."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lexiseg.cli.export import export_results
from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.cli.options import (
    Bands,
    ClassesFile,
    Device,
    Licence,
    MethodChanges,
    ModelName,
    Trust,
    ValueRangeText,
    load_segmenter,
    option,
    read_words_if_given,
)
from lexiseg.cli.progress import progress
from lexiseg.cli.result_folder import claimed, count_other_results
from lexiseg.cli.worker_options import MOST_PRINTED, BulkOptions, failure_lines
from lexiseg.core.errors import InputError
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from rich.console import Console

    from lexiseg.core.segmentation import Segmentation
    from lexiseg.data.formats.result_shards import RowKind
    from lexiseg.runs.bulk.job import Outcome
    from lexiseg.runs.bulk.segment import ResultSummary

#: How rows of Parquet hold labels, by what --results is; None for files.
ROW_KINDS: "Mapping[str, RowKind | None]" = {"files": None, "parquet-png": "png", "parquet-rle": "rle"}

#: Paths are copied from here, and in a pipe a line is a line.
PLAIN: Mapping[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}

#: With more images than this, one table for all of them is printed instead of one each.
MAX_TABLES = 8


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
            option(
                "PATHS",
                "Image files, folders (searched with their subfolders) and globs; tar shards of webdataset and Parquet files, "
                "also as shards/*.tar and shards-{0000..0099}.tar.",
            ),
        ]
    ] = ()
    list_: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(
            name="list",
            metavar="FILE",
            help="Text file with the path of an image or shard in each line, - for standard input; results keep the folders "
            "written there. May be given several times.",
            help_behavior_hint="",
        ),
    ] = ()
    words: Annotated[
        str | None,
        option(
            "WORDS",
            'Class names separated by commas: "cat, grass, sky". Quote a name that holds a comma. May be left out for '
            "a model with classes of its own, which then labels with all of them.",
        ),
    ] = None
    classes_file: ClassesFile = None
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
    results: Annotated[
        Literal["files", "parquet-png", "parquet-rle"],
        tyro.conf.arg(
            metavar="files|parquet-png|parquet-rle",
            help="Three files an image, or Parquet parts: images/ with label maps as 16-bit PNG or as COCO run lengths, "
            "classes/ with the share and score of every class.",
        ),
    ] = "files"
    part_size: Annotated[int, tyro.conf.arg(metavar="N", help="Images of a Parquet part.")] = 1000
    bands: Bands = None
    value_range: ValueRangeText = None
    image_column: Annotated[
        str | None,
        option("NAME", "Column of images, or of their paths, in Parquet; usual ones are found."),
    ] = None
    key_column: Annotated[
        str | None,
        option("NAME", "Column of their names there; key, id or paths, else rows are numbered, if left out."),
    ] = None
    retry_failed: Annotated[
        bool,
        tyro.conf.arg(
            help="Do only what failed before, as lexiseg jobs show lists it; look at nothing else.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    bulk: BulkOptions = field(default_factory=BulkOptions)
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def run(self) -> int:
        """Segment every image; return the exit code."""
        from contextlib import closing
        from functools import partial

        from lexiseg.data.formats.known_formats import known_format
        from lexiseg.data.image_files import PassedOver
        from lexiseg.data.images import ValueRange
        from lexiseg.data.rasters import parse_bands, rasterio_package
        from lexiseg.runs.bulk.forkserver import import_for
        from lexiseg.runs.bulk.inputs import ShardColumns, plan_images
        from lexiseg.runs.bulk.parts import ResultFiles, ResultParts
        from lexiseg.runs.bulk.run import do_job
        from lexiseg.runs.bulk.segment import SegmentJob
        from lexiseg.runs.bulk.states import noting, read_states
        from lexiseg.runs.load import load
        from lexiseg.runs.method_settings import parse_changes

        value_range = None if self.value_range is None else ValueRange.parse(self.value_range)
        bands = None if self.bands is None else parse_bands(self.bands)
        if bands is not None:
            rasterio_package()
        asked_for = {"value_range": self.value_range, "bands": self.bands}
        how_read = {name: given for name, given in asked_for.items() if given is not None}
        formats = {name: known_format(name) for name in self.format}
        asked = read_words_if_given(self.words, self.classes_file)
        workers = self.bulk.chosen()
        passed_over = PassedOver()
        columns = ShardColumns(image=self.image_column, key=self.key_column)
        plan = plan_images(self.paths, self.out, passed_over, lists=self.list_, columns=columns)
        self._refuse_pairs(has_shards=plan.has_shards)
        chosen: Sequence[int] = range(len(plan))
        if self.retry_failed:
            failed_before = {failure.name for failure in read_states(self.out).failures}
            chosen = [number for number, stem in enumerate(plan.stems()) if stem in failed_before]
        kind = ROW_KINDS[self.results]
        import_for(SegmentJob, workers)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        vocabulary = segmenter.own_words() if asked is None else asked
        changes = self.inference.changes()
        if self.unknown:
            changes = {"none_of_these": "label", **changes}
        request = segmenter.describe(vocabulary, **changes)
        request["settings"].update(how_read)
        if kind is not None:
            request["settings"]["results"] = f"{self.results}, {self.part_size} a part"
        job = SegmentJob(
            load=partial(load, self.model, method_settings=parse_changes(self.set_), trust=self.trust),
            device=self.device,
            vocabulary=vocabulary,
            changes=changes,
            request=request,
            out=self.out,
            bands=bands,
            value_range=value_range,
            how_read=how_read,
            explains=self.explain,
            redoes=self.overwrite,
            rows=kind,
            seconds=self.bulk.time_limit,
            segmenter=segmenter,
        )
        job.open()  # words that cannot be used must not claim the folder
        console = open_console()
        tally = _Tally()
        with (
            claimed(self.out, request, plan.stems, overwrite=self.overwrite),
            noting(
                self.out,
                command="segment",
                total=len(plan),
                workers=workers.count,
                retries=self.retry_failed,
            ) as log,
            progress("segmenting", len(chosen), console) as advance,
        ):

            def tell(outcome: "Outcome") -> None:
                image, stem = plan[outcome.number]
                log.note(outcome, stem, str(image))
                tally.add(outcome, str(image))
                if outcome.content is not None and len(chosen) <= MAX_TABLES:
                    print_shares(console, outcome.content, str(image))
                advance()

            results: ResultFiles | ResultParts
            if kind is None:
                results = ResultFiles(plan, tell)
            else:
                size, redoes = self.part_size, self.overwrite
                results = ResultParts(
                    plan, self.out, size=size, kind=kind, request=request, redoes=redoes, tell=tell
                )
            with closing(do_job(job, results.inputs(chosen), workers)) as outcomes:
                results.take(outcomes)
        how = "" if segmenter.variant is None else f" ({self.model}, {segmenter.variant})"
        self._print_end(console, tally, how, in_one=len(chosen) > MAX_TABLES)
        if self.overwrite and (others := count_other_results(self.out, request)):
            console.print(f"note: {others} results of other words or settings are still there", **PLAIN)
        if passed_over:
            print(f"note: not looked at: {passed_over.text()}", file=sys.stderr)
        for name, form in formats.items() if tally.counts["done"] or tally.counts["there"] else ():
            export_results(self.out, form, self.out / f"{name}{form.suffix}")
        for line in failure_lines(tally.failed, tally.counts["failed"], self.out):
            print(line, file=sys.stderr)
        return 1 if tally.counts["failed"] else 0

    def _refuse_pairs(self, *, has_shards: bool) -> None:
        """Refuse options that exclude each other, or images that they do not go with."""
        if has_shards and self.bands is not None:
            raise InputError(
                doing="reading the arguments",
                found="--bands with images in shards",
                expected="TIFF files, of which bands can be chosen",
                fix="Unpack the shards, or leave --bands out.",
            )
        if self.explain and ROW_KINDS[self.results] is not None:
            raise InputError(
                doing="reading the arguments",
                found=f"--explain with --results {self.results}",
                expected="explanations beside results in files",
                fix="Leave one of them out.",
            )

    def _print_end(self, console: "Console", tally: "_Tally", how: str, *, in_one: bool) -> None:
        """Print what was done, and of many images one table and how many are doubtful."""
        counts = tally.counts
        if in_one and tally.shares:
            _print_totals(console, tally.shares, counts["done"])
        kept = f", {counts['there']} already there" if counts["there"] else ""
        console.print(
            f"{counts['done']} segmented{how}{kept}, {counts['failed']} failed; results in {self.out}",
            **PLAIN,
        )
        if in_one and tally.doubtful:
            console.print(
                f"note: {tally.doubtful:,} images perhaps show none of the words (absent_chance in their JSON)",
                **PLAIN,
            )


class _Tally:
    """What a run has done so far, in memory that does not grow with the images."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.shares: dict[str, tuple[int, float]] = {}  # images that show a class, and the sum of its shares
        self.doubtful = 0
        self.failed: list[tuple[str | Path, str]] = []  # the first

    def add(self, outcome: "Outcome", path: str) -> None:
        self.counts[outcome.state] += 1
        if outcome.state == "failed" and len(self.failed) < MOST_PRINTED:
            self.failed.append((path, outcome.message))
        if outcome.content is not None:
            self.doubtful += outcome.content.is_doubtful
            for share in outcome.content.shares():
                count, total = self.shares.get(share.name, (0, 0.0))
                self.shares[share.name] = count + 1, total + share.share


def print_shares(console: "Console", segmentation: "Segmentation | ResultSummary", path: str | Path) -> None:
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


def result_notes(segmentation: "Segmentation | ResultSummary") -> list[str]:
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


def _print_totals(console: "Console", totals: dict[str, tuple[int, float]], num_images: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(f"{num_images} images", style="bold", highlight=False)
    table = Table(box=SIMPLE_HEAD, highlight=False)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("pixels", justify="right")
    for name, (count, total) in sorted(totals.items(), key=lambda item: -item[1][1]):
        table.add_row(name, str(count), f"{total / num_images:.1%}")
    console.print(table)
