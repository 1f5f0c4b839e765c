"""Segment a raster of any size into files; rows of blocks that are done are kept until all is written."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import InputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.label_maps import label_counts
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


def segment_raster(
    path: str | Path,
    request: RasterRequest,
    out: str | Path,
    stem: str | None = None,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
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
    bands = None if request.bands is None else parse_bands(request.bands)
    value_range = None if request.value_range is None else ValueRange.parse(request.value_range)
    with open_raster(path, bands, value_range) as raster:
        settings = request.model.settings.changed(**request.changes)
        blocks = RasterBlocks(
            model=request.model, raster=raster, class_names=request.class_names, settings=settings
        )
        kept = _kept_folder(files["json"], json.dumps([described, image], sort_keys=True))
        names = request.class_names.vocabulary.names
        counts = np.zeros(len(names), np.int64)

        def strips() -> Iterator[tuple[int, UInt16[np.ndarray, "_ _"]]]:
            for number, rows in enumerate(blocks.rows):
                place = kept / f"{rows[0]}.png"
                labels = read_strip(place, (rows[1] - rows[0], raster.size[1]))
                if labels is None:
                    labels = np.concatenate(list(blocks.labels(rows)), axis=1)
                    write_strip(place, labels)
                counts[:] += label_counts(labels, len(names))[0][: len(names)]
                advance(number + 1, len(blocks.rows))
                yield rows[0], labels

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
