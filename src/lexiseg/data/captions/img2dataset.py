"""What img2dataset leaves beside its tar shards: a Parquet table and a ``_stats.json`` a shard.

For every ``00000.tar`` there is ``00000.parquet``, a row for each address with its ``status`` (``success``,
``failed_to_download``, ``failed_to_resize``), and ``00000_stats.json`` with the counts. The images are in the
tar files alone, so the tables are read for what failed and never for images.
"""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lexiseg.core.errors import DatasetError
from lexiseg.core.json_text import read_json_file
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
        stats = read_json_file(table.with_name(f"{table.stem}_stats.json"))
        return {name: int(stats[key]) for key, name in names.items() if key in stats}
    except (OSError, ValueError, TypeError):
        pass
    counts = _value_counts(table, "status")
    if counts is None:
        return {}
    words = {
        "success": "downloaded",
        "failed_to_download": "failed to download",
        "failed_to_resize": "failed to resize",
    }
    return {"count": counts.total(), **{words.get(name, name): number for name, number in counts.items()}}


def _value_counts(table: Path, name: str) -> Counter[str] | None:
    """Count the values of a column, each of which is unpacked once; None where it is not there."""
    if importlib.util.find_spec("pyarrow") is None:
        return None
    from pyarrow import ArrowException, parquet

    counts: Counter[str] = Counter()
    try:
        with parquet.ParquetFile(table, read_dictionary=[name]) as content:
            if name not in content.schema_arrow.names:
                return None
            for batch in content.iter_batches(columns=[name], use_threads=False):
                for entry in batch.column(0).value_counts().to_pylist():
                    counts[str(entry["values"])[:200]] += entry["counts"]
    except (ArrowException, OSError):
        return None
    return counts


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
