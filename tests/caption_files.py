"""Make small caption data of every kind for tests."""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture_bytes(number: int, height: int = 24, width: int = 30, kind: str = "JPEG", **more: Any) -> bytes:
    """Draw a picture that no other number gives."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    target = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BILINEAR).save(target, kind, **more)
    return target.getvalue()


def good_members(number: int) -> dict[str, Any]:
    """Give a record as webdataset's writer takes it."""
    return {"__key__": f"{number:05d}", "jpg": picture_bytes(number), "txt": f"picture number {number}"}


def write_shard(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write a tar shard with webdataset's own writer."""
    from webdataset import TarWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(path), mtime=0.0) as writer:
        for record in records:
            writer.write(dict(record))
    return path


def write_shards(folder: Path, sizes: Iterable[int] = (17, 9, 24)) -> Path:
    """Write shards of good records, numbered through."""
    number = 0
    for shard, size in enumerate(sizes):
        write_shard(folder / f"part-{shard:03d}.tar", map(good_members, range(number, number + size)))
        number += size
    return folder


def write_folder(folder: Path, count: int = 20, captions: int = 2) -> Path:
    """Write images/ and captions.tsv."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(count):
        (folder / "images" / f"{number:03d}.png").write_bytes(picture_bytes(number, kind="PNG"))
        lines += [f"{number:03d}\tcaption {turn} of {number}" for turn in range(captions)]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_parquet(path: Path, columns: Mapping[str, list[Any]], row_group_size: int = 7) -> Path:
    """Write a Parquet file of small row groups."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(columns)), path, row_group_size=row_group_size)
    return path


def json_members(number: int, content: object) -> dict[str, Any]:
    """Give a record whose caption is in JSON."""
    return {
        "__key__": f"{number:05d}",
        "png": picture_bytes(number, kind="PNG"),
        "json": json.dumps(content).encode(),
    }
