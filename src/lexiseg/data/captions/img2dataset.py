"""What img2dataset leaves beside its tar shards: a Parquet table and a ``_stats.json`` a shard.

For every ``00000.tar`` there is ``00000.parquet``, a row for each address with its ``status`` (``success``,
``failed_to_download``, ``failed_to_resize``), and ``00000_stats.json`` with the counts. The images are in the
tar files alone, so the tables are read for what failed and never for images.
"""

import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lexiseg.core.errors import DatasetError
from lexiseg.data.captions.records import CaptionColumns

#: Columns that img2dataset writes and tables with images hardly have all of.
_MARKS = frozenset({"url", "key", "status"})


def metadata_tables(files: Sequence[Path]) -> set[Path]:
    """Return the Parquet files that only describe tar files among ``files``: those of the same stem."""
    shards = {file.with_suffix("") for file in files if file.suffix.lower() == ".tar"}
    return {file for file in files if file.suffix.lower() == ".parquet" and file.with_suffix("") in shards}


def download_notes(tables: Sequence[Path] | set[Path]) -> list[str]:
    """Say how many addresses were not downloaded, from the counts beside the tables or the tables themselves."""
    counts: Counter[str] = Counter()
    for table in sorted(tables):
        counts.update(_counts_of(table))
    total = counts.pop("count", 0)
    if not total:
        return [
            f"{len(tables):,} Parquet files describe the tar files beside them and are not read for images"
        ]
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(counts.items()) if number)
    return [f"img2dataset asked for {total:,} images: {reasons}"]


def _counts_of(table: Path) -> dict[str, int]:
    names = {
        "count": "count", "successes": "downloaded", "failed_to_download": "failed to download",
        "failed_to_resize": "failed to resize",
    }  # fmt: skip
    try:
        stats = json.loads(table.with_name(f"{table.stem}_stats.json").read_text(encoding="utf-8"))
        return {name: int(stats[key]) for key, name in names.items() if key in stats}
    except (OSError, ValueError, TypeError):
        pass
    status = _column(table, "status")
    if status is None:
        return {}
    counts = Counter(str(value) for value in status)
    words = {
        "success": "downloaded",
        "failed_to_download": "failed to download",
        "failed_to_resize": "failed to resize",
    }
    return {"count": len(status), **{words.get(name, name): number for name, number in counts.items()}}


def _column(table: Path, name: str) -> list[Any] | None:
    if importlib.util.find_spec("pyarrow") is None:
        return None
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(table) as content:
            if name not in content.schema_arrow.names:
                return None
            return content.read(columns=[name], use_threads=False)[name].to_pylist()
    except (ArrowException, OSError):
        return None


def refuse_loose_download(files: Sequence[Path], columns: CaptionColumns) -> None:
    """Refuse img2dataset's other layout, tables beside folders of loose files: its images are in no table.

    Raises:
        DatasetError: The files are such tables.
    """
    loose = [file for file in files if file.with_suffix("").is_dir()]
    if not loose or columns.image is not None or importlib.util.find_spec("pyarrow") is None:
        return
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(loose[0]) as content:
            names = set(content.schema_arrow.names)
    except (ArrowException, OSError):
        return
    if names >= _MARKS:
        folder = loose[0].parent
        raise DatasetError(
            doing=f"opening the captions in {folder}",
            found=f"img2dataset's loose files ({loose[0].stem}/ beside {loose[0].name})",
            expected="its tar shards: img2dataset … --output_format webdataset",
            fix=f"Pack each folder in its order: tar --sort=name -cf {loose[0].stem}.tar -C {folder / loose[0].stem} .",
        )
