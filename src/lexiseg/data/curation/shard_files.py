"""Files of a shard: arrays in safetensors that are mapped from disk, and tables in Arrow and Parquet."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import DatasetError, MissingPackageError
from lexiseg.core.json_text import decode_json

_TYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U64": np.uint64,
}


def shard_name(number: int, suffix: str) -> str:
    """Return the name of a shard's file."""
    return f"{number:05d}{suffix}"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> None:
    """Write arrays and facts about them, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with atomic_path(path) as temporary:
        # one entry: safetensors keeps several in an order of its own, another every time
        save_file(contiguous, temporary, metadata={"facts": json.dumps(facts, sort_keys=True)})


def map_arrays(path: Path, *, stage: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map the arrays of a file from disk, read-only, and read the facts.

    Args:
        path: A file of ``write_arrays``.
        stage: Which stage makes it, for messages.

    Raises:
        DatasetError: It is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            head = int.from_bytes(file.read(8), "little")
            size = file.seek(0, 2)
            if not 0 < head <= size - 8:
                raise ValueError(f"{size:,} bytes, cut off or not safetensors")
            file.seek(8)
            header: dict[str, Any] = decode_json(file.read(head))
        facts: dict[str, str] = decode_json(header.pop("__metadata__", {}).get("facts", "{}"))
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if size != 8 + head + end:
            raise ValueError(f"{size:,} bytes instead of {8 + head + end:,}")
        arrays: dict[str, np.ndarray] = {}
        for name, entry in header.items():
            kind, shape, offset = (
                _TYPES[entry["dtype"]],
                tuple(entry["shape"]),
                8 + head + entry["data_offsets"][0],
            )
            if 0 in shape:
                arrays[name] = np.empty(shape, kind)
            else:
                arrays[name] = np.asarray(np.memmap(path, kind, "r", offset, shape))
    except FileNotFoundError:
        raise missing_shard(path, stage) from None
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise damaged_shard(path, str(error) or type(error).__name__, stage) from error
    return arrays, facts


def write_table(path: Path, columns: Mapping[str, Any], *, row_group: int | None = None) -> None:
    """Write a table, whole or not at all: Arrow, which is mapped, or Parquet by the name's ending.

    Args:
        path: Ends in ``.arrow`` or ``.parquet``.
        columns: Arrow arrays by name.
        row_group: Rows that are read together, for Parquet.

    Raises:
        OutputError: The file cannot be written.
    """
    arrow = need_pyarrow(f"writing {path}")
    table = arrow.table(dict(columns))
    with atomic_path(path) as temporary:
        if path.suffix == ".arrow":
            with arrow.OSFile(str(temporary), "wb") as sink, arrow.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        else:
            from pyarrow import parquet

            parquet.write_table(table, temporary, row_group_size=row_group, compression="zstd")


def map_table(path: Path, *, stage: str) -> Any:
    """Map an Arrow table from disk.

    Raises:
        DatasetError: It is missing or damaged.
    """
    arrow = need_pyarrow(f"reading {path}")
    try:
        with arrow.memory_map(str(path)) as source:
            return arrow.ipc.open_file(source).read_all()
    except FileNotFoundError:
        raise missing_shard(path, stage) from None
    except (OSError, ValueError) as error:  # pyarrow's errors are these
        raise damaged_shard(path, str(error), stage) from error


def read_table(path: Path, *, stage: str, columns: Sequence[str] | None = None) -> Any:
    """Read a Parquet table, or some columns of it.

    Raises:
        DatasetError: It is missing or damaged.
    """
    need_pyarrow(f"reading {path}")
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            return file.read(
                columns=columns, use_threads=False
            )  # pyarrow's threads do not live through a fork
    except FileNotFoundError:
        raise missing_shard(path, stage) from None
    except (OSError, ValueError) as error:
        raise damaged_shard(path, str(error), stage) from error


def need_pyarrow(doing: str) -> Any:
    """Import pyarrow.

    Raises:
        MissingPackageError: It is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingPackageError.of("pyarrow", doing=doing, extra="train")
    import pyarrow

    return pyarrow


def missing_shard(path: Path, stage: str) -> DatasetError:
    """Make the error that a shard's file is not there."""
    return DatasetError(
        doing=f"reading {path}",
        found="no such file",
        expected=f"the file that lexiseg curate {stage} writes for this shard",
        fix=f"Run the same lexiseg curate {stage} command again: it does only what is missing.",
    )


def damaged_shard(path: Path, found: str, stage: str) -> DatasetError:
    """Make the error that a shard's file is damaged."""
    return DatasetError(
        doing=f"reading {path}",
        found=found,
        expected=f"a whole file of lexiseg curate {stage}",
        fix=f"Delete it and run the same lexiseg curate {stage} command again: it does only this one.",
    )
