"""A bank of unlabelled regions: what patches of regions that look alike had in other photographs (CorrCLIP, version 2).

Every region of the photographs has a key, its mean unit feature of the vision model on the whole image, and a value, its mean
feature of CorrCLIP, both of unit length. A region of a new image takes the mean value of its nearest keys. The file is one of
safetensors, mapped and not read; its header has a manifest in JSON. A stopped build goes on where it was.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import DatasetError, ImageError, InputError, as_found
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.json_text import decode_json
from lexiseg.core.tensor_digest import tensor_digest
from lexiseg.ops.neighbours import ArrayRows, ExactSearch, NeighbourSearch
from lexiseg.ops.neighbours_faiss import FaissKind, FaissSearch, build_faiss, sample_rows

FORMAT = "lexiseg-regions-1"
#: ``exact``, or a kind of faiss's indices.
BankSearch: TypeAlias = Literal["exact", "ivf", "hnsw"]
#: Photographs in one part of a build.
_PART = 16
#: Recall that an index of faiss is widened to.
_RECALL = 0.95
_ROWS = ("keys", "values")
_HEADER_BYTES = 8

#: From a photograph to the keys and values of its regions.
Describe: TypeAlias = Callable[[Path], tuple[Float[Tensor, "R K"], Float[Tensor, "R V"]]]


class RegionBank:
    """A bank on disk.

    Args:
        path: The file.

    Raises:
        DatasetError: It is absent, cut off, or no bank of regions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise _unusable(path, "no such file")
        try:
            with safe_open(path, framework="pt") as opened:
                manifest = decode_json((opened.metadata() or {}).get("manifest", "null"))
                shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
                kinds = {name: opened.get_slice(name).get_dtype() for name in shapes}
        except (SafetensorError, OSError, ValueError) as error:
            raise _unusable(path, f"{path.stat().st_size:,} bytes that are not whole ({error})") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            kind = manifest.get("format") if isinstance(manifest, dict) else None
            raise _unusable(path, f"the format {as_found(kind)}")
        counts = {shapes.get(name, (0,))[0] for name in _ROWS}
        if counts == {0} or len(counts) > 1 or any(kinds.get(name) != "F16" for name in _ROWS):
            raise _unusable(path, f"tensors that do not fit together: {shapes}")
        self.made_with: Mapping[str, Any] = manifest["made_with"]
        self.sha256 = str(manifest["sha256"])
        self.num_photographs = int(manifest["photographs"])
        self.keys, self.values = (_mapped(path, name, shapes[name]) for name in _ROWS)

    def __len__(self) -> int:
        return len(self.keys)


def _mapped(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Map one tensor of a safetensors file, whose header begins with its length and says where tensors lie."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_BYTES), "little")
        start = int(decode_json(file.read(length))[name]["data_offsets"][0])
    return np.memmap(path, np.float16, "r", _HEADER_BYTES + length + start, shape)


class RegionSupport:
    """Finds for regions the mean value of their nearest neighbours in a bank.

    Args:
        bank: The bank.
        search: How neighbours are found; an index of faiss is built beside the bank, once.
        neighbours: How many count; all where the bank has fewer.

    Raises:
        MissingPackageError: An index is asked for and faiss is not installed.
        DatasetError: The index is damaged.
    """

    def __init__(self, bank: RegionBank, search: BankSearch, neighbours: int) -> None:
        self.bank, self.neighbours = bank, neighbours
        self.search = _open_search(bank, search, neighbours)

    def find(self, keys: Float[Tensor, "R K"]) -> Float[Tensor, "R V"]:
        """Return unit rows, one a region.

        Raises:
            DatasetError: The bank holds a number that is none.
        """
        rows = self.search.search(keys.cpu().numpy(), self.neighbours).rows
        found = torch.from_numpy(self.bank.values[rows].astype(np.float32)).mean(dim=1)
        if not found.isfinite().all():
            raise _unusable(self.bank.path, "values that are NaN or infinite")
        return normalize(found, dim=1).to(keys.device)


def _open_search(bank: RegionBank, search: BankSearch, neighbours: int) -> NeighbourSearch:
    rows = ArrayRows(bank.keys)
    if search == "exact":
        return ExactSearch(rows)
    kind: FaissKind = search
    path = bank.path.with_name(f"{bank.path.name}.{bank.sha256[:12]}.{kind}")
    if not path.is_file():
        build_faiss(rows, kind, path)
    found = FaissSearch(rows, kind, path)
    found.widen(rows.take(sample_rows(len(rows))), neighbours, _RECALL)
    return found


@dataclass(frozen=True, kw_only=True)
class BuiltRegions:
    """What a build did.

    Attributes:
        num_regions: Regions in the bank.
        num_kept: Photographs whose regions an earlier build had left.
        damaged: Photographs that could not be read, and why.
    """

    num_regions: int
    num_kept: int
    damaged: Mapping[str, str]


def build_region_bank(
    photographs: Sequence[Path],
    describe: Describe,
    out: Path,
    *,
    made_with: Mapping[str, Any],
    advance: Callable[[], None] = lambda: None,
) -> BuiltRegions:
    """Describe all regions of some photographs and write them to a bank; the whole bank stands in memory once.

    Args:
        photographs: Their files.
        describe: Gives keys and values, as unit rows.
        out: The bank.
        made_with: Fingerprints of the networks and whatever else decides the values.
        advance: Called once a photograph.

    Raises:
        DatasetError: There is no region in any of them.
        InputError: Another build writes this bank.
        OutputError: It cannot be written.
    """
    parts = out.with_name(f"{out.name}.parts")
    tensors: dict[str, list[Tensor]] = {name: [] for name in _ROWS}
    damaged: dict[str, str] = {}
    num_kept = 0
    with writing_alone(parts):
        for at in range(0, len(photographs), _PART):
            files = photographs[at : at + _PART]
            part = parts / f"{_key(files, made_with)}.safetensors"
            if (there := _finished(part)) is None:
                there = _described(files, describe)
                _save(part, there[0], {"damaged": there[1]})
            else:
                num_kept += len(files)
            for name in _ROWS:
                tensors[name].append(there[0][name])
            damaged |= there[1]
            for _ in files:
                advance()
        whole = {
            name: torch.cat([each for each in rows if len(each)] or rows[:1])
            for name, rows in tensors.items()
        }
        if not len(whole["keys"]):
            raise DatasetError(
                doing=f"building the bank of regions {out}",
                found=f"no region in {len(photographs)} photographs ({len(damaged)} could not be read)",
                expected="photographs that the proposer cuts into regions",
                fix="Check the folder, and --set beside.proposer.",
            )
        manifest = {
            "format": FORMAT,
            "made_with": dict(made_with),
            "photographs": len(photographs) - len(damaged),
            "sha256": tensor_digest(whole),
        }
        _save(out, whole, manifest)
        shutil.rmtree(parts, ignore_errors=True)
    return BuiltRegions(num_regions=len(whole["keys"]), num_kept=num_kept, damaged=damaged)


def _described(files: Sequence[Path], describe: Describe) -> tuple[dict[str, Tensor], dict[str, str]]:
    found: dict[str, list[Tensor]] = {name: [] for name in _ROWS}
    damaged: dict[str, str] = {}
    for file in files:
        try:
            both = describe(file)
        except ImageError as error:
            damaged[str(file)] = error.found
            continue
        for name, rows in zip(_ROWS, both, strict=True):
            found[name].append(rows.half().cpu())
    empty = torch.zeros(0, 1, dtype=torch.float16)
    return {name: torch.cat(rows) if rows else empty for name, rows in found.items()}, damaged


def _save(path: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        text = json.dumps(manifest, ensure_ascii=False)
        save_file(
            {name: rows.contiguous() for name, rows in tensors.items()},
            temporary,
            metadata={"manifest": text},
        )


def _finished(part: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Read a part that an earlier build finished; None where there is none, or it is damaged."""
    if not part.is_file():
        return None
    try:
        with safe_open(part, framework="pt") as opened:
            damaged = decode_json((opened.metadata() or {})["manifest"])["damaged"]
        return load_file(part), damaged
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):  # built again
        return None


def _key(files: Sequence[Path], made_with: Mapping[str, Any]) -> str:
    what = [dict(made_with), [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def check_made_with(bank: RegionBank, made_with: Mapping[str, Any]) -> None:
    """Refuse a bank of other networks or other regions: its values would lie in another space.

    Raises:
        InputError: It is one.
    """
    other = [name for name, value in made_with.items() if bank.made_with.get(name) != value]
    if other:
        raise InputError(
            doing=f"opening the bank of regions {bank.path}",
            found=f"regions made with another {', '.join(other)}",
            expected="the networks, the proposer and the weights of branches that label now",
            fix="Build it with the same --model and --set: lexiseg references build --unlabelled PHOTOS --out BANK.",
        )


def _unusable(path: Path, found: str) -> DatasetError:
    return DatasetError(
        doing=f"opening the bank of regions {path}",
        found=found,
        expected="a file written by lexiseg references build --unlabelled",
        fix="Build it again: lexiseg references build --unlabelled PHOTOS --model CLIP --out BANK.",
    )


def mean_of_regions(
    places: Sequence[Int64[Tensor, " _"]], tokens: Sequence[Float[Tensor, "_ D"]], count: int
) -> tuple[Float[Tensor, "R D"], Int64[Tensor, " R"]]:
    """Average tokens of all windows region by region, to unit length.

    Args:
        places: The region of every patch of a window, 0 for none.
        tokens: Of the same patches.
        count: Regions are 1 to this number.

    Returns:
        One row a region that has a patch, and the numbers of these regions.
    """
    total = tokens[0].new_zeros(count + 1, tokens[0].shape[1])
    patches = tokens[0].new_zeros(count + 1)
    for where, rows in zip(places, tokens, strict=True):
        total.index_add_(0, where, rows)
        patches.index_add_(0, where, torch.ones_like(rows[:, 0]))
    patches[0] = 0
    numbers = (patches > 0).nonzero()[:, 0]
    return normalize(total[numbers], dim=1), numbers
