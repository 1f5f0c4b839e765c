"""What img2dataset leaves beside its tar shards: a Parquet table and a ``_stats.json`` a shard.

For every ``00000.tar`` there is ``00000.parquet``, a row for each address with its ``status`` (``success``,
``failed_to_download``, ``failed_to_resize``), and ``00000_stats.json`` with the counts; with
``--output_format files`` a folder ``00000/`` of loose files stands in the place of the tar file. The images are there
alone, so the tables are read for what failed and never for images.
"""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lexiseg.core.json_text import read_json_file

#: Columns that img2dataset writes and tables with images hardly have all of.
_MARKS = frozenset({"url", "key", "status"})


def metadata_tables(files: Sequence[Path]) -> set[Path]:
    """Return the Parquet files that only describe tar files among ``files``: those of the same stem."""
    shards = {file.with_suffix("") for file in files if file.suffix.lower() == ".tar"}
    return {file for file in files if file.suffix.lower() == ".parquet" and file.with_suffix("") in shards}


def download_notes(tables: Sequence[Path] | set[Path], *, beside: str = "tar files") -> list[str]:
    """Say how many addresses were not downloaded, from the counts beside the tables or the tables themselves.

    Args:
        tables: The tables.
        beside: What they describe.
    """
    counts: Counter[str] = Counter()
    for table in sorted(tables):
        counts.update(_counts_of(table))
    total = counts.pop("count", 0)
    if not total:
        return [
            f"{len(tables):,} Parquet files describe the {beside} beside them and are not read for images"
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


def tables_of_loose_files(files: Sequence[Path]) -> list[Path]:
    """Return the tables of img2dataset's other layout, which stand beside folders of loose files; none elsewhere."""
    loose = [file for file in files if file.with_suffix("").is_dir()]
    if not loose or len(loose) < len(files) or importlib.util.find_spec("pyarrow") is None:
        return []
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(loose[0]) as content:
            names = set(content.schema_arrow.names)
    except (ArrowException, OSError):
        return []
    return loose if names >= _MARKS else []
