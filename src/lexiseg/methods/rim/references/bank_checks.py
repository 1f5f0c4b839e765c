"""The one place where a bank that was read is checked; whoever has a ``ReferenceBank`` may trust it.

A damaged or forged file must not become a label: every range of rows lies where the tensors end, every number is
finite and in its range, and what refers to something else refers to something that is there.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import class_key
from lexiseg.core.tensor_digest import tensor_digest

FORMAT = "lexiseg-references-2"

#: A sub-category is stored in eight bits.
MAX_SUBCATEGORIES = 256

#: Tensor, its type, its number of dimensions.
_TENSORS: dict[str, tuple[torch.dtype, int]] = {
    "features": (torch.float16, 2),
    "clusters": (torch.uint8, 1),
    "references": (torch.float32, 2),
    "negatives": (torch.float16, 2),
    "profiles": (torch.float32, 2),
    "nearness": (torch.float32, 1),
    "thumbnails": (torch.uint8, 1),
    "thumbnail_starts": (torch.int64, 1),
}
#: Of the manifest.
_ENTRIES = {"format", "sha256", "encoder", "classes", "rejected"}
#: Unit features are rounded to half precision.
_TOLERANCE = 0.01


def check_bank(path: Path, manifest: Mapping[str, Any], file: Any) -> None:
    """Refuse a bank that contradicts itself.

    Args:
        path: For messages.
        manifest: As read, of the right format.
        file: Open safetensors file. All but the thumbnails is read.

    Raises:
        DatasetError: Something is missing, out of range or does not fit together; the message names it.
    """
    try:
        problem = (
            _problem_of_manifest(manifest)
            or _problem_of_shapes(manifest, file)
            or _problem_of_values(manifest, file)
            or _problem_of_bytes(manifest, file)
        )
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        OverflowError,
        RuntimeError,
        SafetensorError,
    ) as error:
        problem = f"an entry that is missing or of another kind ({type(error).__name__}: {error})"
    if problem:
        raise DatasetError(
            doing=f"opening the reference bank {path}",
            found=problem,
            expected="a bank whose parts fit together, as lexiseg references build writes it",
            fix="Copy it again, or delete it and run the same lexiseg references build again.",
        )


def _problem_of_manifest(manifest: Mapping[str, Any]) -> str | None:
    """Return what is wrong with names, ranges of rows and the encoder; None for nothing."""
    classes, encoder = manifest["classes"], manifest["encoder"]
    if strange := manifest.keys() - _ENTRIES:  # a damaged name hides the hash
        return f"{', '.join(sorted(strange))} in its manifest, which no version writes"
    if not classes:
        return "no class"
    if not (isinstance(encoder["name"], str) and isinstance(encoder["fingerprint"], str)):
        return f"an image encoder without a name or a fingerprint ({encoder})"
    if type(encoder["short_side"]) is not int or encoder["short_side"] < 1:
        return f"an image encoder that sees a short side of {encoder['short_side']!r} pixels"
    if not isinstance(manifest["rejected"], dict):
        return "no list of rejected classes"
    seen: dict[str, str] = {}
    ends = {"images": 0, "references": 0, "negatives": 0}
    for row in classes:
        name = row["name"]
        if not isinstance(name, str) or not name.strip():
            return f"a class of the name {name!r}"
        if class_key(name) in seen:
            return (
                f"the classes {seen[class_key(name)]!r} and {name!r}, which differ by case or spaces at most"
            )
        seen[class_key(name)] = name
        if not all(isinstance(each, str) for each in (row["key"], *row["synonyms"], *row["origins"])):
            return f"a key, synonym or origin of {name!r} that is no text"
        for kind in ends:
            start, stop = row[kind]
            if type(start) is not int or type(stop) is not int or start != ends[kind] or stop < start:
                return f"{kind} {start} to {stop} of {name!r}, where they begin at {ends[kind]}"
            ends[kind] = stop
        if row["images"][1] - row["images"][0] != len(row["origins"]) or not row["origins"]:
            return f"{len(row['origins'])} origins for the images of {name!r}"
        if not 0 < row["references"][1] - row["references"][0] <= MAX_SUBCATEGORIES:
            return f"{row['references'][1] - row['references'][0]} references of {name!r}"
        if not isinstance(row["facts"]["source"], str) or row["facts"]["drawn"] < len(row["origins"]):
            return f"facts of {name!r} that do not fit its images"
    return None


def _problem_of_shapes(manifest: Mapping[str, Any], file: Any) -> str | None:
    """Return which tensor is missing or has another type or shape; None for none."""
    missing = sorted(set(_TENSORS) - set(file.keys()))
    if missing:
        return f"no tensor {', '.join(missing)}"
    last = manifest["classes"][-1]
    images, references, negatives = (last[kind][1] for kind in ("images", "references", "negatives"))
    width = _shape(file, "references")[-1]
    shapes = {
        "features": (images, width),
        "clusters": (images,),
        "references": (references, width),
        "negatives": (negatives, width),
        "profiles": (references, len(manifest["classes"])),
        "nearness": (images,),
        "thumbnail_starts": (images + 1,),
    }
    for name, (kind, dimensions) in _TENSORS.items():
        shape = _shape(file, name)
        if len(shape) != dimensions or shapes.get(name, shape) != shape:
            return f"the tensor {name} of shape {shape}, which the classes need to be {shapes.get(name)}"
        # an empty slice has the type of the tensor and costs nothing
        if file.get_slice(name)[:0].dtype != kind:
            return f"the tensor {name} of another type than {kind}"
    return None


def _problem_of_values(manifest: Mapping[str, Any], file: Any) -> str | None:
    """Return which numbers are out of their range; None for none."""
    for name in ("features", "references", "negatives", "profiles", "nearness"):
        values: Tensor = file.get_tensor(name).float()
        if not values.isfinite().all():
            return f"numbers in the tensor {name} that are not finite"
        if name in ("profiles", "nearness"):
            if len(values) and float(values.abs().max()) > 1 + _TOLERANCE:
                return f"cosines in the tensor {name} outside of -1 to 1"
        elif len(values) and float((values.norm(dim=1) - 1).abs().max()) > _TOLERANCE:
            return f"features in the tensor {name} that have no unit length"
    clusters: Tensor = file.get_tensor("clusters")
    for row in manifest["classes"]:
        held = clusters[slice(*row["images"])]
        if int(held.max()) >= row["references"][1] - row["references"][0]:
            return f"an image of {row['name']!r} in a sub-category that is not there"
    starts: list[int] = file.get_tensor("thumbnail_starts").tolist()
    if starts[0] != 0 or any(stop < start for start, stop in pairwise(starts)):
        return "thumbnails that do not follow one another"
    if starts[-1] != (0 if starts[-1] == 0 else _shape(file, "thumbnails")[0]):
        return "thumbnails that end elsewhere than their file"
    return None


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Hash what labels come from: every tensor but the thumbnails, which stay in the file until they are looked at."""
    return tensor_digest({name: tensor for name, tensor in tensors.items() if name != "thumbnails"})


def _problem_of_bytes(manifest: Mapping[str, Any], file: Any) -> str | None:
    """Return that numbers are not those that were written; None where they are, or the bank is older than the hash."""
    if "sha256" not in manifest:
        return None
    held = {name: file.get_tensor(name) for name in _TENSORS if name != "thumbnails"}
    return None if manifest["sha256"] == digest_of(held) else "numbers that are not those that were written"


def _shape(file: Any, name: str) -> tuple[int, ...]:
    return tuple(file.get_slice(name).get_shape())
