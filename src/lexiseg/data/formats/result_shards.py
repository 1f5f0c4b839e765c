"""Results of many images in Parquet shards, instead of three files each.

::

    images/part-000000000.parquet    a row an image: name, path, state, size, label map or masks
    classes/part-000000000.parquet   a row for every class of every image (``formats.table``)

A part is named by the number of its first image and written whole, classes first: who finds it under ``images`` finds both.
Pages have checksums. Any reader of Parquet opens the folders: pandas, DuckDB, Polars, Ray Data.
"""

import importlib.util
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import RunLengths, annotate
from lexiseg.core.coco_rle import decode as decode_mask
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, InputError, MissingPackageError
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.core.json_text import decode_json
from lexiseg.core.result_files import IMAGE_PARTS
from lexiseg.core.segmentation import Segmentation
from lexiseg.data.formats.annotations import LabelledImage
from lexiseg.data.formats.coco import number_images
from lexiseg.data.formats.table import class_rows, table_schema
from lexiseg.data.image_files import PassedOver

#: How a row holds its labels: a grey PNG of 16 bits, or COCO's run lengths of each class.
RowKind: TypeAlias = Literal["png", "rle"]

CLASSES = "classes"
_ABOUT = b"lexiseg"


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """What a shard keeps of one image.

    Attributes:
        facts: Its row of ``images``.
        classes: Its rows of ``classes``.
    """

    facts: Mapping[str, Any]
    classes: Sequence[Mapping[str, Any]] = ()

    @property
    def is_done(self) -> bool:
        """Return whether it has a label map."""
        return bool(self.facts["state"] == "done")


def done_row(
    segmentation: Segmentation, stem: str, file: Mapping[str, Any] | None, kind: RowKind
) -> ResultRow:
    """Make the row of a result.

    Args:
        segmentation: The result.
        stem: Name of the image.
        file: What tells its file from every other.
        kind: How labels are held.
    """
    height, width = segmentation.shape
    held: dict[str, Any] = {}
    if kind == "png":
        buffer = io.BytesIO()
        Image.fromarray(segmentation.label_map).save(buffer, format="PNG", compress_level=3)
        held["label_map"] = buffer.getvalue()
    else:
        held["masks"] = [
            {
                "label": one["category_id"],
                "class": one["category_name"],
                "area": one["area"],
                "bbox": one["bbox"],
                "counts": one["segmentation"]["counts"],
            }
            for one in annotate(segmentation.label_map, segmentation.vocabulary.names)
        ]
    image = LabelledImage(
        stem=stem,
        id=0,
        file_name=stem,
        label_map=segmentation.label_map,
        scores={share.label: share.mean_score for share in segmentation.shares()},
        source=segmentation.source,
    )
    facts = {
        **_named(stem, str(segmentation.source or stem), file),
        "state": "done",
        "message": None,
        "height": height,
        "width": width,
        "unknown_share": None if segmentation.unknown is None else segmentation.unknown_share,
        "absent_chance": segmentation.absent_chance,
        **held,
    }
    return ResultRow(
        facts=facts, classes=[_text_only(row) for row in class_rows(image, segmentation.vocabulary.names)]
    )


def failed_row(stem: str, path: str, file: Mapping[str, Any] | None, message: str) -> ResultRow:
    """Make the row of an image that failed."""
    return ResultRow(facts={**_named(stem, path, file), "state": "failed", "message": as_text(message)})


def _named(stem: str, path: str, file: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"image": as_text(stem), "path": as_text(path), "file": None if file is None else _text_only(file)}


def _text_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_text(value) if isinstance(value, str) else value for name, value in values.items()}


def as_text(name: str) -> str:
    """Write bytes of a file name that are no text as Python does: Parquet keeps text only."""
    return name.encode("utf-8", "backslashreplace").decode()


def same_file(row: ResultRow, file: Mapping[str, Any] | None) -> bool:
    """Return whether a row was made of this very file."""
    return file is not None and row.facts["file"] == _text_only(file)


def _schema(kind: RowKind) -> Any:
    import pyarrow as pa

    mask = [
        ("label", pa.int32()), ("class", pa.string()), ("area", pa.int64()), ("bbox", pa.list_(pa.int32())),
        ("counts", pa.string()),
    ]  # fmt: skip
    file = pa.struct([("path", pa.string()), ("bytes", pa.int64()), ("modified_ns", pa.int64())])
    held = ("label_map", pa.binary()) if kind == "png" else ("masks", pa.list_(pa.struct(mask)))
    return pa.schema(
        [
            ("image", pa.string()), ("path", pa.string()), ("file", file), ("state", pa.string()),
            ("message", pa.string()), ("height", pa.int32()), ("width", pa.int32()),
            ("unknown_share", pa.float64()), ("absent_chance", pa.float64()), held,
        ]
    )  # fmt: skip


def part_path(folder: Path, first: int, table: str = IMAGE_PARTS) -> Path:
    """Return where a part lies.

    Args:
        folder: Of the results.
        first: Number of its first image.
        table: ``IMAGE_PARTS`` or ``CLASSES``.
    """
    return folder / table / f"part-{first:09d}.parquet"


def write_part(
    folder: Path, first: int, rows: Sequence[ResultRow], *, kind: RowKind, about: Mapping[str, Any]
) -> None:
    """Write a part, each of its two files whole or not at all; the same rows give the same bytes.

    Args:
        folder: Of the results.
        first: Number of its first image.
        rows: Its images, in their order.
        kind: How they hold labels.
        about: What was asked for: kept in the file.

    Raises:
        OutputError: The folder cannot be written.
        MissingPackageError: pyarrow is not installed.
    """
    pa, parquet = pyarrow_packages(f"writing {folder}")
    how: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    with suppress(OSError):  # what cannot be removed cannot be replaced, and that is told
        part_path(folder, first).unlink()  # while its classes are of other rows
    text = json.dumps(about, sort_keys=True, ensure_ascii=True)
    tables = {
        CLASSES: (table_schema(), [row for each in rows for row in each.classes]),
        IMAGE_PARTS: (
            _schema(kind).with_metadata({_ABOUT: text.encode()}),
            [dict(row.facts) for row in rows],
        ),
    }
    for table, (schema, content) in tables.items():
        with (
            atomic_path(part_path(folder, first, table)) as temporary,
            parquet.ParquetWriter(temporary, schema, **how) as writer,
        ):
            writer.write_table(pa.Table.from_pylist(content, schema))


def read_part(folder: Path, first: int, about: Mapping[str, Any]) -> list[ResultRow] | None:
    """Read a part that was written for the same request; None where there is none, or one that is damaged."""
    path = part_path(folder, first)
    if not path.is_file():
        return None
    try:
        with _part(path) as content:
            if decode_json(content.schema_arrow.metadata[_ABOUT]) != decode_json(json.dumps(about)):
                return None
            rows = content.read().to_pylist()
        by_image: dict[str, list[dict[str, Any]]] = {row["image"]: [] for row in rows}
        with _part(part_path(folder, first, CLASSES)) as content:
            for row in content.read().to_pylist():
                by_image[row["image"]].append(row)
    except (DatasetError, ValueError, KeyError, TypeError, OSError):
        return None
    return [ResultRow(facts=row, classes=by_image[row["image"]]) for row in rows]


def pyarrow_packages(doing: str) -> tuple[Any, Any]:
    """Import pyarrow and its Parquet.

    Raises:
        MissingPackageError: It is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingPackageError.of("pyarrow", doing=doing, extra="formats")
    import pyarrow as pa
    from pyarrow import parquet

    return pa, parquet


@contextmanager
def _part(path: Path) -> Iterator[Any]:
    """Open a Parquet file of ours.

    Raises:
        DatasetError: It cannot be read.
    """
    pa, parquet = pyarrow_packages(f"reading {path}")
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as content:
            yield content
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, found: str) -> DatasetError:
    return DatasetError(
        doing=f"reading the results in {path}",
        found=found[:300],
        expected="what lexiseg segment --results wrote",
        fix="Remove the file, and run the same lexiseg segment command again: it makes this part only.",
    )


class SegmentedShards:
    """The results in Parquet shards of a folder, read a part at a time.

    Args:
        folder: What ``lexiseg segment --results parquet-png|parquet-rle`` wrote.

    Attributes:
        names: Class names in label order.
        stems: One an image that has a result, in the order of the parts.
        passed_over: Images that failed.

    Raises:
        DatasetError: There is none, a part is damaged, or they are of several vocabularies.
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passed_over = PassedOver()
        self.stems: list[str] = []
        self._parts = sorted((folder / IMAGE_PARTS).glob("part-*.parquet"))
        vocabularies = set()
        for path in self._parts:
            with _part(path) as content:
                try:
                    about = decode_json(content.schema_arrow.metadata[_ABOUT])
                    vocabularies.add(tuple(about["request"]["vocabulary"]))
                except (ValueError, KeyError, TypeError) as error:
                    raise _damaged(path, f"no word of what was asked for ({error})") from error
                table = content.read(columns=["image", "state"]).to_pydict()
            for stem, state in zip(table["image"], table["state"], strict=True):
                if state == "done":
                    self.stems.append(stem)
                else:
                    self.passed_over.add("image that failed", stem)
        if len(vocabularies) != 1:
            raise DatasetError(
                doing=f"reading results in {folder}",
                found=f"{len(vocabularies)} vocabularies" if vocabularies else "no part",
                expected="what lexiseg segment wrote by one request",
                fix="Check the path; results of other words belong in folders of their own.",
            )
        self.names: tuple[str, ...] = vocabularies.pop()

    def __len__(self) -> int:
        return len(self.stems)

    def __iter__(self) -> Iterator[LabelledImage]:
        numbers = number_images(self.stems)
        for path in self._parts:
            scores: dict[str, dict[int, float]] = {}
            with _part(self.folder / CLASSES / path.name) as content:
                for row in content.read(columns=["image", "label", "score"]).to_pylist():
                    if row["label"] is not None:
                        scores.setdefault(row["image"], {})[row["label"]] = row["score"]
            with _part(path) as content:
                for batch in content.iter_batches(64):
                    for row in batch.to_pylist():
                        if row["state"] != "done":
                            continue
                        source = Path(row["path"])
                        yield LabelledImage(
                            stem=row["image"],
                            id=numbers[row["image"]],
                            file_name=f"{row['image']}{source.suffix}",
                            label_map=label_map_of(row, path),
                            scores=scores.get(row["image"], {}),
                            source=source if source.is_file() else None,
                        )


def label_map_of(row: Mapping[str, Any], path: Path) -> UInt16[np.ndarray, "H W"]:
    """Read the label map of a row of ``images``; 65535 is void.

    Args:
        row: Its columns ``height``, ``width``, and ``label_map`` or ``masks``.
        path: Its file, for messages.

    Raises:
        DatasetError: It is damaged.
    """
    try:
        if row.get("masks") is None:
            png = io.BytesIO(row["label_map"])
            found = decode(png, lambda image: np.asarray(image).astype(np.uint16), ("PNG",))
        else:
            found = np.full((row["height"], row["width"]), IGNORE_INDEX, np.uint16)
            for mask in row["masks"]:
                runs = RunLengths(size=[row["height"], row["width"]], counts=mask["counts"])
                found[decode_mask(runs)] = mask["label"]
    except (KeyError, TypeError, ValueError, OSError, DamagedImageError, InputError) as error:
        raise _damaged(path, f"no label map of {row.get('image')!r} ({error})") from error
    if found.shape != (row["height"], row["width"]):
        raise _damaged(path, f"a label map of {row['image']!r} of another size")
    return found
