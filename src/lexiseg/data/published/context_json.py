"""Read PASCAL Context label maps out of trainval_merged.json (PASCAL in Detail).

The file keeps one run-length mask a segment. Segments are painted in the order of the file, later ones
over earlier ones, as the Detail toolbox does. It is large: some 600 MB, read once and kept in memory.
"""

import functools
import json
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.errors import DatasetError
from lexiseg.core.run_length import RunLengths, decode

_LOCK = threading.Lock()  # several readers at once would each load the whole file


def read_context_json(path: Path, stem: str) -> UInt16[np.ndarray, "H W"]:
    """Paint the label map of one image: original category ids (0 to 458), 0 where no segment lies.

    Raises:
        DatasetError: The file is damaged, or has no such image.
    """
    with _LOCK:
        index = _load(path, path.stat().st_mtime_ns if path.is_file() else 0)
    if stem not in index:
        raise DatasetError(
            doing=f"reading the label file {path}",
            found=f"no image {stem}",
            expected=f"an entry for every listed image; it has {len(index):,}",
            fix="Use the lists of PASCAL Context, and trainval_merged.json as it was published.",
        )
    height, width, segments = index[stem]
    labels = np.zeros((height, width), np.uint16)
    for category, segment in segments:
        counts = segment["counts"]
        text = counts if isinstance(counts, str) else counts.decode("ascii")
        labels[decode(RunLengths(size=segment["size"], counts=text))] = category
    return labels


@functools.lru_cache(maxsize=1)
def _load(path: Path, _changed: int) -> dict[str, tuple[int, int, list[tuple[int, Any]]]]:
    try:
        content = json.loads(path.read_bytes())
        segments = defaultdict(list)
        for segment in content["annos_segmentation"]:
            segments[segment["image_id"]].append((int(segment["category_id"]), segment["segmentation"]))
        return {
            Path(image["file_name"]).stem: (image["height"], image["width"], segments[image["image_id"]])
            for image in content["images"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            doing=f"reading the label file {path}",
            found=f"a damaged or other file ({error!r})",
            expected="trainval_merged.json with images and annos_segmentation",
            fix="Copy it again from its source.",
        ) from error
