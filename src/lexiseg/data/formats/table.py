"""A Parquet table of results: a row for every class of every image, for pandas, DuckDB, Polars and FiftyOne."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import MissingPackageError
from lexiseg.data.formats.annotations import LabelledImage

_ROWS_A_GROUP = 50_000


def write_table(images: Iterable[LabelledImage], names: Sequence[str], out: Path) -> int:
    """Write image (stem), path, height, width, label, class, pixels, share of the image's pixels, and score.

    An image that is void everywhere has one row, without a class. Memory is bounded whatever the number of images.

    Returns:
        The number of rows.

    Raises:
        OutputError: The file cannot be written.
        MissingPackageError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError.of("pyarrow", doing=f"writing {out}", extra="formats") from error
    schema = table_schema()
    count = 0
    rows: list[dict[str, Any]] = []
    with atomic_path(out) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for image in images:
            rows += class_rows(image, names)
            if len(rows) >= _ROWS_A_GROUP:
                count += len(rows)
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))
    return count + len(rows)


def table_schema() -> Any:
    """Return names and types of the columns, as pyarrow has them."""
    import pyarrow as pa

    return pa.schema(
        [
            ("image", pa.string()), ("path", pa.string()), ("height", pa.int32()), ("width", pa.int32()),
            ("label", pa.int32()), ("class", pa.string()), ("pixels", pa.int64()), ("share", pa.float64()),
            ("score", pa.float64()),
        ]
    )  # fmt: skip


def class_rows(image: LabelledImage, names: Sequence[str]) -> list[dict[str, Any]]:
    """Make the rows of one image."""
    height, width = image.label_map.shape
    facts = {
        "image": image.stem,
        "path": image.file_name if image.source is None else str(image.source),
        "height": height,
        "width": width,
    }
    labels, counts = np.unique(image.label_map, return_counts=True)
    found = [
        facts
        | {
            "label": int(label),
            "class": names[label],
            "pixels": int(count),
            "share": float(count / image.label_map.size),
            "score": image.scores.get(int(label)),
        }
        for label, count in zip(labels, counts, strict=True)
        if label != IGNORE_INDEX
    ]
    return found or [facts]
