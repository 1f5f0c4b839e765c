"""``lexiseg raster``: GeoTIFFs and words in, label maps and polygons for a geographic information system out."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lexiseg.cli.inference_options import InferenceOptions
from lexiseg.cli.options import (
    Bands,
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
from lexiseg.cli.progress import progress
from lexiseg.cli.result_folder import claimed, count_other_results
from lexiseg.cli.worker_options import WorkerOptions
from lexiseg.core.errors import ImageError
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from rich.console import Console

    from lexiseg.core.vocabulary import Vocabulary
    from lexiseg.inference.segment_raster import RasterRequest


@dataclass(frozen=True, kw_only=True)
class SegmentRaster:
    """Segment GeoTIFFs and COGs of any size by words, a rectangle at a time.

    Writes a raster: STEM.labels.tif, a COG with the same reference system and transform, its void where there are no
    data; its regions with their class names; STEM.json. Rows that are done are kept: the same command run again goes on
    where it stopped. Windows are in pixels of the raster, which is seen at its own resolution.
    """

    paths: tyro.conf.Positional[
        Annotated[tuple[str, ...], option("PATHS", "GeoTIFFs, folders of them and globs.")]
    ]
    words: Annotated[
        str | None,
        option(
            "WORDS",
            'Class names separated by commas: "roof, road, tree". May be left out for a model with classes of its own.',
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
            help="Segment rasters again whose results are already there, also where they are of other words.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    device: Device = "auto"
    bands: Bands = None
    value_range: Annotated[
        str | None,
        option(
            "LOW..HIGH|percentile",
            "Values that are black and white, such as 0..10000 for reflectances; percentile takes the 1st and 99th of each "
            "band. 8 bits as they are and all of 16 bits if left out.",
        ),
    ] = None
    polygons: Annotated[
        Literal["gpkg", "geojson", "none"],
        tyro.conf.arg(
            metavar="gpkg|geojson|none",
            help="File of the regions, with label and name of each: a GeoPackage in the raster's reference system, GeoJSON in "
            "longitude and latitude, or none.",
        ),
    ] = "gpkg"
    bulk: WorkerOptions = field(default_factory=WorkerOptions)
    inference: InferenceOptions = field(default_factory=InferenceOptions)

    def run(self) -> int:
        """Segment every raster; return the exit code."""
        from functools import partial

        from lexiseg.data.image_files import PassedOver
        from lexiseg.data.rasters import rasterio_package
        from lexiseg.inference.segment_raster import RasterRequest, raster_is_done, segment_raster
        from lexiseg.runs.bulk.each import mapper
        from lexiseg.runs.bulk.forkserver import import_for
        from lexiseg.runs.bulk.inputs import plan_images
        from lexiseg.runs.bulk.model_job import ModelJob

        rasterio_package()
        workers = self.bulk.chosen()
        words = read_words_if_given(self.words, self.classes_file)
        passed_over = PassedOver()
        jobs = plan_images(self.paths, self.out, passed_over)
        import_for(ModelJob, workers)
        asked: dict[str, Any] = {
            "bands": self.bands,
            "value_range": self.value_range,
            "polygons": self.polygons,
        }
        asked.update(self.inference.changes())
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        request = RasterRequest.build(segmenter, words, **asked)
        segment = partial(
            segment_raster,
            apply=None if workers.are_here else mapper("segmenting", workers, uses_gpu=self.device != "cpu"),
            opened_by=partial(_request, self, words, asked),
        )
        console = open_console()
        wanted, window = asked.get("window"), request.changes["window"]
        if wanted is not None and wanted > window:
            print(
                f"note: {self.model} sees {window} pixels at a time: --window {wanted} changes nothing",
                file=sys.stderr,
            )
        failed: list[tuple[Path, str]] = []
        skipped = 0
        described = request.describe()
        with claimed(self.out, described, jobs.stems, overwrite=self.overwrite):
            for image, stem in jobs:
                path = image if isinstance(image, Path) else image.path
                if not self.overwrite and raster_is_done(path, self.out, stem, request) is not None:
                    skipped += 1
                    continue
                try:
                    facts = self._segment(path, stem, segment, request, console)
                except ImageError as error:
                    failed.append((path, f"{error.found}. {error.fix}"))
                    continue
                print_areas(console, facts, path)
        finished = len(jobs) - skipped - len(failed)
        kept = f", {skipped} already there" if skipped else ""
        plain: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
        console.print(f"{finished} segmented{kept}, {len(failed)} failed; results in {self.out}", **plain)
        if self.overwrite and (others := count_other_results(self.out, described)):
            console.print(f"note: {others} results of other words or settings are still there", **plain)
        if passed_over:
            print(f"note: not looked at: {passed_over.text()}", file=sys.stderr)
        for path, problem in failed:
            print(f"  failed: {path}: {problem}", file=sys.stderr)
        return 1 if failed else 0

    def _segment(
        self, path: Path, stem: str, segment: Any, request: Any, console: "Console"
    ) -> dict[str, Any]:
        with progress(path.name, 100, console) as advance:
            shown = 0

            def show(done: int, total: int) -> None:
                nonlocal shown
                for _ in range(done * 100 // total - shown):
                    advance()
                shown = done * 100 // total

            return segment(path, request, self.out, stem, advance=show)


def _request(command: SegmentRaster, words: "Vocabulary | None", asked: dict[str, Any]) -> "RasterRequest":
    """Load the model in a process of its own."""
    from lexiseg.inference.segment_raster import RasterRequest
    from lexiseg.runs.load import load
    from lexiseg.runs.method_settings import parse_changes

    changes = parse_changes(command.set_)
    model = load(command.model, device=command.device, method_settings=changes, trust=command.trust)
    return RasterRequest.build(model, words, **asked)


def print_areas(console: "Console", facts: dict[str, Any], path: Path) -> None:
    """Print a raster's classes with their shares and, where its units are known, areas."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(path, style="bold", markup=False, highlight=False, soft_wrap=True)
    has_area = any("area_m2" in each for each in facts["classes"])
    table = Table(box=SIMPLE_HEAD, highlight=False)
    table.add_column("class")
    table.add_column("pixels", justify="right")
    if has_area:
        table.add_column("hectares", justify="right")
    for each in facts["classes"]:
        area = [f"{each['area_m2'] / 1e4:,.2f}"] if has_area else []
        table.add_row(each["name"], f"{each['share']:.1%}", *area)
    if facts["no_data_share"]:
        table.add_row("no data", f"{facts['no_data_share']:.1%}", style="yellow")
    console.print(table)
    notes = [f"bands {', '.join(map(str, facts['bands']))}"]
    if facts["num_regions"] is not None:
        notes.append(f"{facts['num_regions']:,} regions")
    if facts["crs"] is None:
        notes.append("no reference system: coordinates are pixels")
    console.print("; ".join(notes), markup=False, highlight=False, soft_wrap=True)
