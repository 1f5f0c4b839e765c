"""Stage one: vectors of images, and what each is called, in shards that are mapped from disk."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.data.captions.decoding import UnreadableImageError, decode_image
from lexiseg.data.captions.invalid_records import write_invalid_records
from lexiseg.data.captions.records import CaptionSource, InvalidRecord, RawRecord
from lexiseg.data.curation.encoder import PairEncoder
from lexiseg.data.curation.manifests import claim_stage, read_stage
from lexiseg.data.curation.shard_files import (
    map_arrays,
    map_table,
    missing_shard,
    need_pyarrow,
    shard_name,
    write_arrays,
    write_table,
)
from lexiseg.data.curation.shard_stage import ShardStage

#: Records of a shard: what a killed worker loses at most, and what one pass over the index serves.
SHARD_RECORDS = 16_384
#: Images decoded and encoded together.
_BATCH = 64


@dataclass
class EmbedShards(ShardStage):
    """Embed the images of one shard of records after the other.

    Attributes:
        folder: The curation.
        open_source: Opens the records; called in each process.
        load_encoder: Loads the encoder; called in each process.
        with_captions: Embed captions too, for language-driven expansion: of an image with several, their mean.
        shard_records: Records of a shard.
    """

    folder: Path
    open_source: Callable[[], CaptionSource]
    load_encoder: Callable[[], PairEncoder]
    with_captions: bool = False
    shard_records: int = SHARD_RECORDS
    name: str = field(default="embedding images", init=False)

    @cached_property
    def source(self) -> CaptionSource:
        """The records."""
        return self.open_source()

    @cached_property
    def encoder(self) -> PairEncoder:
        """The encoder."""
        return self.load_encoder()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("source", "encoder")}

    def begin(self, facts: dict[str, Any]) -> None:
        """Write down what will be embedded and by what; ``facts`` come on top.

        Raises:
            InputError: The folder holds another embedding, or there are no records.
        """
        if len(self.source) == 0:
            raise InputError(
                doing=f"embedding {self.source.path}",
                found=f"no usable record, and {len(self.source.invalid):,} invalid ones",
                expected="images with captions",
                fix=f"Look at it with: lexiseg captions check {self.source.path}",
            )
        settings = {
            "encoder": self.encoder.name,
            "encoder_fingerprint": self.encoder.fingerprint,
            "data_fingerprint": self.source.fingerprint(),
            "records": len(self.source),
            "shard_records": self.shard_records,
            "with_captions": self.with_captions,
            **facts,
        }
        claim_stage(self.folder, "embed", settings)

    def shards(self) -> int:
        """Count the shards."""
        return math.ceil(len(self.source) / self.shard_records)

    def target(self, number: int) -> Path:
        """Return the file of a shard's vectors, which is written last."""
        return self.folder / "vectors" / shard_name(number, ".safetensors")

    def work(self, number: int) -> None:
        """Embed one shard; records that cannot be read are left out and listed beside it."""
        arrow = need_pyarrow(f"embedding {self.source.path}")
        first = number * self.shard_records
        rows: list[tuple[int, RawRecord]] = []
        images: list[np.ndarray] = []
        vectors: list[np.ndarray] = []
        invalid: list[InvalidRecord] = list(self.source.invalid) if number == 0 else []
        for record in range(first, min(first + self.shard_records, len(self.source))):
            raw = self.source.read(record)
            if isinstance(raw, RawRecord):
                try:
                    images.append(decode_image(raw.image))
                    rows.append((record, raw))
                except UnreadableImageError as error:
                    raw = InvalidRecord(raw.shard, raw.key, error.reason, error.detail)
            if isinstance(raw, InvalidRecord):
                invalid.append(raw)
            if len(images) == _BATCH:
                vectors.append(self.encoder.embed_images(images))
                images.clear()
        if images or not vectors:
            vectors.append(self.encoder.embed_images(images))
        stem = self.target(number).with_suffix("")
        if invalid:
            write_invalid_records(invalid, stem.with_suffix(".invalid.jsonl"))
        columns = {
            "record": arrow.array([record for record, _ in rows], arrow.int64()),
            "shard": arrow.array([raw.shard for _, raw in rows], arrow.string()),
            "key": arrow.array([raw.key for _, raw in rows], arrow.string()),
            "captions": arrow.array([list(raw.captions) for _, raw in rows], arrow.list_(arrow.string())),
        }
        write_table(stem.with_suffix(".arrow"), columns)
        arrays = {"vectors": self._checked(np.concatenate(vectors), [raw.source for _, raw in rows])}
        if self.with_captions:
            arrays["captions"] = self._caption_vectors(
                [raw.captions for _, raw in rows], arrays["vectors"].shape
            )
        write_arrays(self.target(number), arrays, self._facts())

    def _facts(self) -> dict[str, str]:
        settings = read_stage(self.folder, "embed")
        return {name: str(settings[name]) for name in ("encoder", "encoder_fingerprint", "data_fingerprint")}

    def _checked(self, vectors: np.ndarray, names: Sequence[str]) -> np.ndarray:
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise InputError(
                doing=f"embedding {names[bad[0]]} by {self.encoder.name}",
                found="a vector that is not finite",
                expected="numbers",
                fix="The encoder's weights or its precision are at fault: try --device cpu.",
            )
        return vectors.astype(np.float16)

    def _caption_vectors(self, captions: Sequence[Sequence[str]], shape: tuple[int, ...]) -> np.ndarray:
        texts = [text for each in captions for text in each]
        owners = np.repeat(np.arange(len(captions)), [len(each) for each in captions])
        total = np.zeros(shape, np.float32)
        for start in range(0, len(texts), _BATCH):
            np.add.at(
                total, owners[start : start + _BATCH], self.encoder.embed_texts(texts[start : start + _BATCH])
            )
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return (total / np.maximum(length, 1e-12)).astype(np.float16)


class EmbeddedImages:
    """The vectors and names of a folder in which ``embed`` has finished, mapped from disk.

    The rows are those of all shards in order; it is a ``VectorRows``.

    Args:
        folder: The curation.
        of: ``vectors`` of images, or ``captions``.

    Attributes:
        facts: What they were embedded with.
        starts: First row of each shard, and the number of rows.

    Raises:
        DatasetError: A shard is missing, damaged, or from another encoder or other data.
    """

    def __init__(self, folder: Path, of: str = "vectors") -> None:
        self.folder, self.of = folder, of
        self.facts = read_stage(folder, "embed")
        self._vectors: list[np.ndarray] = []
        for number in range(math.ceil(self.facts["records"] / self.facts["shard_records"])):
            path = folder / "vectors" / shard_name(number, ".safetensors")
            arrays, facts = map_arrays(path, stage="embed")
            for name in ("encoder_fingerprint", "data_fingerprint"):
                if facts.get(name) != self.facts[name]:
                    raise DatasetError(
                        doing=f"reading {path}",
                        found=f"vectors of {facts.get('encoder')}, {name.replace('_', ' ')} {str(facts.get(name))[:12]}…",
                        expected=f"those of {folder / 'embed.json'}: {self.facts['encoder']}, {self.facts[name][:12]}…",
                        fix="The file belongs to another curation: delete it and run lexiseg curate embed again.",
                    )
            if of not in arrays:
                raise DatasetError(
                    doing=f"reading {path}",
                    found="no vectors of captions",
                    expected="them, for language-driven expansion",
                    fix="Embed again into another folder: lexiseg curate embed --expansion language.",
                )
            self._vectors.append(arrays[of])
        sizes = [len(vectors) for vectors in self._vectors]
        self.starts: Int64[np.ndarray, " S_1"] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.dim = int(self._vectors[0].shape[1])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def num_shards(self) -> int:
        """Count the shards."""
        return len(self._vectors)

    def shard(self, number: int) -> np.ndarray:
        """Return the vectors of a shard, not read yet."""
        return self._vectors[number]

    def names(self, number: int) -> Any:
        """Map what is known of the rows of a shard: record, shard, key, captions."""
        table = map_table(self.folder / "vectors" / shard_name(number, ".arrow"), stage="embed")
        if len(table) != len(self._vectors[number]):
            raise missing_shard(self.folder / "vectors" / shard_name(number, ".arrow"), "embed")
        return table

    def block(self, start: int, stop: int) -> np.ndarray:
        """Read rows ``start`` to ``stop``."""
        first, last = np.searchsorted(self.starts, [start, stop - 1], side="right") - 1
        pieces = [
            self._vectors[n][max(start - self.starts[n], 0) : stop - self.starts[n]]
            for n in range(first, last + 1)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def take(self, rows: Int64[np.ndarray, " R"]) -> np.ndarray:
        """Read rows by number."""
        taken = np.empty((len(rows), self.dim), self._vectors[0].dtype)
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(owners):
            here = owners == number
            taken[here] = self._vectors[number][rows[here] - self.starts[number]]
        return taken

    def names_of(self, rows: Int64[np.ndarray, " R"]) -> list[str]:
        """Return ``shard#key`` of rows."""
        distinct, places = np.unique(rows, return_inverse=True)
        owners = np.searchsorted(self.starts, distinct, side="right") - 1
        names: list[str] = []
        for number in np.unique(owners):
            table = self.names(int(number)).take(distinct[owners == number] - self.starts[number])
            names += [
                f"{s}#{k}" for s, k in zip(table["shard"].to_pylist(), table["key"].to_pylist(), strict=True)
            ]
        return [names[place] for place in places]

    def find_names(self, names: Iterable[str]) -> dict[str, tuple[int, list[str]]]:
        """Find records and captions by ``shard#key``, which ``write_keys`` has made findable."""
        keys = map_arrays(self.folder / "keys.safetensors", stage="embed")[0]
        found = {}
        for name in names:
            place = int(np.searchsorted(keys["hashes"], np.uint64(name_hash(name))))
            while self.names_of(keys["rows"][place : place + 1]) != [name]:  # another name of the same hash
                place += 1
            row = int(keys["rows"][place])
            number = int(np.searchsorted(self.starts, row, side="right")) - 1
            cells = self.names(number).slice(row - int(self.starts[number]), 1).to_pylist()[0]
            found[name] = (cells["record"], cells["captions"])
        return found


def name_hash(name: str) -> int:
    """Hash ``shard#key`` into 64 bits."""
    return int.from_bytes(
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def write_keys(images: EmbeddedImages) -> None:
    """Write the table by which records are found by name, and refuse two records of one name.

    Raises:
        DatasetError: Two records have one name.
    """
    hashes = np.empty(len(images), np.uint64)
    for number in range(images.num_shards):
        table = images.names(number)
        names = zip(table["shard"].to_pylist(), table["key"].to_pylist(), strict=True)
        first = int(images.starts[number])
        hashes[first : first + len(table)] = [name_hash(f"{shard}#{key}") for shard, key in names]
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    for place in np.flatnonzero(ordered[1:] == ordered[:-1]):
        rows = np.sort(order[place : place + 2])
        one, other = images.names_of(rows)
        if one == other:
            raise DatasetError(
                doing=f"listing the records embedded in {images.folder}",
                found=f"two records named {one} (rows {rows[0]:,} and {rows[1]:,})",
                expected="each name once, because training finds the concepts of an image by it",
                fix="Choose a column that tells them apart with --key, and another folder (or --redo).",
            )
    write_arrays(images.folder / "keys.safetensors", {"hashes": ordered, "rows": order.astype(np.int64)}, {})
