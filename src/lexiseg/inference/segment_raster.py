"""Segment a raster of any size into files; rows of blocks that are done are kept until all is written."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import InputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.label_maps import label_counts
from lexiseg.core.mapping import Mapper
from lexiseg.core.result_files import FACTS, RASTER_LABELS, file_digest, image_facts, read_facts, shortened
from lexiseg.core.vocabulary import Words
from lexiseg.data.images import ValueRange
from lexiseg.data.raster_files import (
    CATEGORIES,
    POLYGON_FORMATS,
    read_strip,
    require_pyogrio,
    write_labels,
    write_polygons,
    write_strip,
)
from lexiseg.data.rasters import Raster, open_raster, parse_bands
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.raster_blocks import RasterBlocks, raster_changes
from lexiseg.inference.segmenter import Segmenter

#: Rows of blocks that one process labels in a go, where there are enough: neighbours share a third of their windows.
_ROWS_TOGETHER, _FEWEST_GROUPS = 4, 16


@dataclass(frozen=True, kw_only=True)
class RasterRequest:
    """What is asked of rasters: made once for many.

    Attributes:
        model: The segmenter.
        class_names: What competes.
        changes: Inference settings that differ from the model's, as ``raster_changes`` gives them.
        bands: As ``--bands`` takes them; None goes by the file.
        value_range: As ``--value-range`` takes it; None goes by the kind of its values.
        polygons: File of regions, or none.
    """

    model: Segmenter
    class_names: ClassNames
    changes: Mapping[str, Any]
    bands: str | None
    value_range: str | None
    polygons: str

    @classmethod
    def build(
        cls,
        model: Segmenter,
        words: Words | None = None,
        *,
        bands: str | None = None,
        value_range: str | None = None,
        polygons: str = "gpkg",
        **changes: Any,
    ) -> "RasterRequest":
        """Check everything that can be checked before a raster is opened.

        Args:
            model: The segmenter.
            words: As for ``Segmenter.segment``.
            bands: ``1,2,3`` or ``1``; None takes those that a file calls red, green and blue, or its only one.
            value_range: ``0..10000`` or ``percentile``; None takes 8 bits as they are and all of 16.
            polygons: ``gpkg``, ``geojson`` or ``none``.
            changes: Fields of ``InferenceSettings`` to change; windows are in pixels of the raster.

        Raises:
            InputError: Something cannot be used.
            VocabularyError: The words cannot be used.
            MissingPackageError: pyogrio is not installed and polygons are asked for.
        """
        if bands is not None:
            parse_bands(bands)
        if value_range is not None:
            ValueRange.parse(value_range)
        if polygons not in (*POLYGON_FORMATS, "none"):
            raise InputError(
                doing="reading the options", found=f"polygons = {polygons!r}", expected="gpkg, geojson or none",
                fix="Choose one of these.",
            )  # fmt: skip
        if polygons != "none":
            require_pyogrio()
        changes = raster_changes(model, changes)
        settings = model.settings.changed(**changes)
        names = model.name_classes(model.own_words() if words is None else words, settings)
        return cls(
            model=model, class_names=names, changes=changes, bands=bands, value_range=value_range, polygons=polygons
        )  # fmt: skip

    def how_read(self) -> tuple[tuple[int, ...] | None, ValueRange | None]:
        """Return bands and values as ``open_raster`` takes them."""
        bands = None if self.bands is None else parse_bands(self.bands)
        return bands, None if self.value_range is None else ValueRange.parse(self.value_range)

    def blocks(self, raster: Raster) -> RasterBlocks:
        """Return the blocks of an open raster."""
        settings = self.model.settings.changed(**self.changes)
        return RasterBlocks(model=self.model, raster=raster, class_names=self.class_names, settings=settings)

    def describe(self) -> dict[str, Any]:
        """Return what a record says of it: vocabulary and settings."""
        facts = self.model.describe(self.class_names.vocabulary, **self.changes)
        asked = {"bands": self.bands, "value_range": self.value_range, "polygons": self.polygons}
        return {**facts, "settings": {**facts["settings"], **asked}}


def result_files(out: Path, stem: str, polygons: str) -> dict[str, Path]:
    """Return where ``labels``, ``categories``, ``polygons`` (if any) and ``json`` of a raster belong."""
    base = out / shortened(stem)
    ends = {"labels": RASTER_LABELS, "categories": CATEGORIES, "json": FACTS}
    if polygons != "none":
        ends["polygons"] = f".polygons.{polygons}"
    return {kind: base.with_name(base.name + end) for kind, end in ends.items()}


def raster_is_done(path: Path, out: Path, stem: str, request: RasterRequest) -> dict[str, Any] | None:
    """Return the facts of a result that is there, whole, of this very file and request; else None."""
    files = result_files(out, stem, request.polygons)
    image, facts = image_facts(path), read_facts(files["json"])
    wanted = {**request.describe(), "image": image}
    if facts is None or image is None or {key: facts.get(key) for key in wanted} != wanted:
        return None
    try:
        return (
            facts
            if all(file_digest(files[kind]) == facts["sha256"].get(kind) for kind in files if kind != "json")
            else None
        )
    except (OSError, KeyError, AttributeError):
        return None


class _LabelledRows:
    """Labels rows of blocks of a raster, in whatever process it is called; what is kept is not made again.

    Args:
        path: The raster.
        kept: Folder of rows that are done.
        opened_by: Gives the request in another process.
        blocks: The open raster, in this one.
    """

    def __init__(
        self,
        path: Path,
        kept: Path,
        opened_by: Callable[[], RasterRequest] | None,
        blocks: RasterBlocks | None = None,
    ) -> None:
        self._path, self._kept, self._opened_by, self._blocks = path, kept, opened_by, blocks
        self._open_files = ExitStack()  # closed when the process ends

    def __reduce__(self) -> tuple[Any, ...]:
        return _LabelledRows, (self._path, self._kept, self._opened_by)

    def __call__(self, group: Sequence[tuple[int, int]]) -> None:
        """Keep the labels of neighbouring rows."""
        for rows in group:
            self.labels(rows)

    def labels(self, rows: tuple[int, int]) -> UInt16[np.ndarray, "_ _"]:
        """Return the labels of one row of blocks, and keep them.

        Raises:
            ImageError: The raster is damaged there.
            OutputError: The folder cannot be written.
        """
        blocks = self._open_blocks()
        place = self._kept / f"{rows[0]}.png"
        labels = read_strip(place, (rows[1] - rows[0], blocks.raster.size[1]))
        if labels is None:
            labels = np.concatenate(list(blocks.labels(rows)), axis=1)
            write_strip(place, labels)
        return labels

    def _open_blocks(self) -> RasterBlocks:
        if self._blocks is None:
            assert self._opened_by is not None, "only what can be opened elsewhere is sent there"
            request = self._opened_by()
            raster = self._open_files.enter_context(open_raster(self._path, *request.how_read()))
            self._blocks = request.blocks(raster)
        return self._blocks


def segment_raster(
    path: str | Path,
    request: RasterRequest,
    out: str | Path,
    stem: str | None = None,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
    apply: Mapper | None = None,
    opened_by: Callable[[], RasterRequest] | None = None,
) -> dict[str, Any]:
    """Label a GeoTIFF or COG of any size: a label map as COG, its regions, and the facts, in a folder.

    Memory does not grow with the raster, but with its width by the windows of one row and, for polygons, with the
    outlines. A run that was stopped goes on after the last row of blocks that it kept.

    Args:
        path: The raster.
        request: What is asked.
        out: Folder of the results.
        stem: Start of the names of the files; the raster's own if left out.
        advance: Called after each row of blocks, with how many are done and how many there are.
        apply: By whom rows are labelled, a few that lie together at a time; None for this process.
        opened_by: Gives the same request in the processes of ``apply``; needed with it, and sent there.

    Returns:
        The facts, as written to ``STEM.json``: size, classes with their shares and areas, reference system, settings.

    Raises:
        ImageError: The raster cannot be read.
        InputError: Its bands or values are not stated, or another run works on it.
        OutputError: The folder cannot be written.
    """
    path, out = Path(path), Path(out)
    stem = path.stem if stem is None else stem
    files = result_files(out, stem, request.polygons)
    image, described = image_facts(path), request.describe()
    with open_raster(path, *request.how_read()) as raster:
        blocks = request.blocks(raster)
        kept = _kept_folder(files["json"], json.dumps([described, image], sort_keys=True))
        names = request.class_names.vocabulary.names
        counts = np.zeros(len(names), np.int64)
        labelled = _LabelledRows(path, kept, opened_by, blocks)

        rows = blocks.rows

        def in_turn() -> Iterator[tuple[int, int]]:
            groups = _neighbours(rows)
            if apply is None or len(groups) == 1:
                yield from rows
                return
            for group, _ in zip(groups, apply(labelled, groups), strict=True):
                yield from group

        def strips() -> Iterator[tuple[int, UInt16[np.ndarray, "_ _"]]]:
            for number, each in enumerate(in_turn(), start=1):
                labels = labelled.labels(each)
                counts[:] += label_counts(labels, len(names))[0][: len(names)]
                advance(number, len(rows))
                yield each[0], labels

        with writing_alone(kept):
            files["json"].unlink(missing_ok=True)  # facts of older labels must not outlive them
            write_labels(files["labels"], strips(), raster, names, kept / "labels.tif")
            num_regions = None
            if request.polygons != "none":
                num_regions = write_polygons(files["polygons"], files["labels"], names, request.polygons)
            facts = {
                "source": str(path),
                "image": image,
                **_of_raster(raster, counts, names),
                "num_regions": num_regions,
                **described,
                "sha256": {kind: file_digest(file) for kind, file in files.items() if kind != "json"},
            }
            with atomic_path(files["json"]) as temporary:
                text = json.dumps(facts, indent=1, ensure_ascii=False)
                temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        shutil.rmtree(kept, ignore_errors=True)
    return facts


def _neighbours(rows: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Divide rows of blocks among processes: neighbours share windows, and there must be enough groups for many."""
    size = max(1, min(_ROWS_TOGETHER, len(rows) // _FEWEST_GROUPS))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _of_raster(raster: Raster, counts: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Return size, classes by how much they cover, and where the raster lies."""
    num_pixels = math.prod(raster.size)
    at = raster.transform
    pixel_m2 = (
        None if raster.linear_metres is None else abs(at.a * at.e - at.b * at.d) * raster.linear_metres**2
    )
    classes = [
        {
            "label": int(label),
            "name": names[label],
            "share": int(counts[label]) / num_pixels,
            **({} if pixel_m2 is None else {"area_m2": int(counts[label]) * pixel_m2}),
        }
        for label in np.argsort(-counts, kind="stable")
        if counts[label]
    ]
    return {
        "size": {"height": raster.size[0], "width": raster.size[1]},
        "classes": classes,
        "no_data_share": 1 - int(counts.sum()) / num_pixels,
        "bands": list(raster.bands),
        "value_limits": [list(each) for each in raster.limits],
        "crs": raster.crs,
        "transform": list(at)[:6],
    }


def _kept_folder(facts: Path, asked: str) -> Path:
    """Return the folder of rows that are done, and delete those of the same raster that were asked for otherwise."""
    whose = f".rows-{hashlib.sha256(os.fsencode(facts.name)).hexdigest()[:8]}-"
    kept = facts.with_name(whose + hashlib.sha256(asked.encode()).hexdigest()[:16])
    for other in facts.parent.glob(f"{whose}*"):
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)
    return kept
