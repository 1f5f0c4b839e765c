"""Curated records, read by the name of an image, in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16

from lexiseg.core.errors import InputError
from lexiseg.data.curation.embed import EmbeddedImages, name_hash
from lexiseg.data.curation.manifests import read_stage
from lexiseg.data.curation.rank import ROWS_READ_TOGETHER
from lexiseg.data.curation.shard_files import (
    damaged_shard,
    map_arrays,
    missing_shard,
    need_pyarrow,
    read_table,
    shard_name,
)

_COLUMNS = ("shard", "key", "captions", "concepts", "scores", "clusters")
#: Row groups kept, and files open.
_KEPT, _OPEN = 64, 16


@dataclass(frozen=True, kw_only=True, eq=False)
class CuratedRecord:
    """What training takes of one image.

    Attributes:
        row: Its row, which is its number among the usable records.
        name: ``shard#key``.
        captions: As the data gave them.
        concepts: The best first; may be empty.
        scores: Of the concepts.
        clusters: Of the concepts; None where there are at most two.
    """

    row: int
    name: str
    captions: tuple[str, ...]
    concepts: tuple[str, ...]
    scores: Float32[np.ndarray, " C"]
    clusters: Int16[np.ndarray, " C"] | None


class CuratedImages:
    """The curated records of a folder in which all four stages have finished.

    A record is read with the few hundred rows around it; the last ones read are kept. Nothing is written. It can be
    sent to other processes, which open the files anew.

    Args:
        folder: The curation.

    Raises:
        DatasetError: A stage is missing, or a shard.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        read_stage(self.folder, "cluster")
        self.starts = EmbeddedImages(self.folder).starts
        self._keys = map_arrays(self.folder / "keys.safetensors", stage="embed")[0]
        for number in range(len(self.starts) - 1):
            if not (path := self._path(number)).is_file():
                raise missing_shard(path, "cluster")
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._files: OrderedDict[int, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, row: int) -> CuratedRecord:
        """Read the record of a row."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        place = row - int(self.starts[number])
        table = self._group(number, place // ROWS_READ_TOGETHER)
        cells = {name: table[name][place % ROWS_READ_TOGETHER].as_py() for name in _COLUMNS}
        clusters = cells["clusters"]
        return CuratedRecord(
            row=row,
            name=f"{cells['shard']}#{cells['key']}",
            captions=tuple(cells["captions"]),
            concepts=tuple(cells["concepts"]),
            scores=np.array(cells["scores"], np.float32),
            clusters=None if clusters is None else np.array(clusters, np.int16),
        )

    def __iter__(self) -> Iterator[CuratedRecord]:
        return (self[row] for row in range(len(self)))

    def find(self, name: str) -> CuratedRecord | None:
        """Read the record of an image by ``shard#key``; None where it was not curated."""
        wanted = np.uint64(name_hash(name))
        hashes = self._keys["hashes"]
        place = int(np.searchsorted(hashes, wanted))
        while place < len(hashes) and hashes[place] == wanted:
            record = self[int(self._keys["rows"][place])]
            if record.name == name:
                return record
            place += 1
        return None

    def whole(self, name: str) -> dict[str, Any]:
        """Read every column of one image's row.

        Args:
            name: ``shard#key``, or the key alone where one image has it.

        Raises:
            InputError: There is none, or more than one.
        """
        record = self.find(name)
        row = self._row_of_key(name) if record is None else record.row
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        table = read_table(self._path(number), stage="cluster")
        return {"row": row, **table.slice(row - int(self.starts[number]), 1).to_pylist()[0]}

    def _row_of_key(self, key: str) -> int:
        rows: list[int] = []
        for number in range(len(self.starts) - 1):
            keys = read_table(self._path(number), stage="cluster", columns=["key"])["key"].to_pylist()
            rows += [int(self.starts[number]) + place for place, known in enumerate(keys) if known == key]
        if len(rows) == 1:
            return rows[0]
        near = ", ".join(self[row].name for row in (rows or range(len(self)))[:3])
        raise InputError(
            doing=f"looking up the image {key!r} in {self.folder}",
            found=f"{len(rows):,} images of that key" if rows else "no image of that name",
            expected=f"the name of one, such as {near}",
            fix="Give shard#key.",
        )

    def _path(self, number: int) -> Path:
        return self.folder / "curated" / shard_name(number, ".parquet")

    def _group(self, number: int, group: int) -> Any:
        if (number, group) in self._groups:
            self._groups.move_to_end((number, group))
            return self._groups[number, group]
        need_pyarrow(f"reading {self.folder}")
        from pyarrow import parquet

        try:
            file = self._files.pop(number, None) or parquet.ParquetFile(self._path(number), memory_map=True)
            table = file.read_row_group(group, columns=list(_COLUMNS), use_threads=False)
        except FileNotFoundError:
            raise missing_shard(self._path(number), "cluster") from None
        except (OSError, ValueError) as error:
            raise damaged_shard(self._path(number), str(error), "cluster") from error
        self._files[number] = file
        self._groups[number, group] = table
        while len(self._files) > _OPEN:
            self._files.popitem(last=False)[1].close()
        while len(self._groups) > _KEPT:
            self._groups.popitem(last=False)
        return table
