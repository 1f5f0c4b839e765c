"""ReferenceBank: reference images as features, in one safetensors file that is mapped, not read.

The file holds, for all classes one after the other, a unit feature an image, the unit features of
sub-categories (the references), unit features of what surrounded the objects (negatives), thumbnails,
the score profile of every reference against every class (how the images behind a reference rank all
classes, themselves left out), and how near every image is to the references of the others. Its header carries
a manifest in JSON: who made the features, and for each class its content key, its synonyms, where its rows lie,
the origins of its images, and how many were rejected and why.

Features come in half precision, rounded before anything is computed from them, so that a bank that was stopped,
extended or merged is bit by bit the one that is made at once. A file is checked when it is opened
(``bank_checks``) and trusted from then on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import DatasetError, as_found
from lexiseg.core.file_names import class_key
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.json_text import decode_json
from lexiseg.methods.rim.references.bank_checks import FORMAT, MAX_SUBCATEGORIES, check_bank, digest_of
from lexiseg.methods.rim.references.profiles import (
    nearness_of_images,
    profiles_of_references,
    scores_of_images,
)

#: The format stands within so many bytes of the start: it opens the manifest, which opens the header.
_HEADER_START = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassReferences:
    """What the bank keeps of one class.

    Attributes:
        name: The class.
        key: Hash of everything that decided the rest: name, source, images, encoder, settings.
        features: Unit feature of each image's object.
        clusters: Sub-category of each image.
        references: Unit feature of each sub-category.
        negatives: Unit features of what is outside the objects, in groups; none for cut-outs.
        thumbnails: JPEG files, one an image.
        origins: Where each image came from.
        facts: ``drawn`` images, ``rejected`` ones by reason, and what the source says of itself.
        synonyms: Further names that the class answers to.
    """

    name: str
    key: str
    features: Float[Tensor, "K D"]
    clusters: Int[Tensor, " K"]
    references: Float[Tensor, "J D"]
    negatives: Float[Tensor, "n D"]
    thumbnails: tuple[bytes, ...]
    origins: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    synonyms: tuple[str, ...] = ()


def save_bank(
    path: Path,
    classes: Sequence[ClassReferences],
    *,
    encoder: Mapping[str, Any],
    rejected: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a bank, whole or not at all.

    Args:
        path: The file.
        classes: One or more, names all different, features representable in half precision.
        encoder: ``name`` (what to load), ``fingerprint`` and ``short_side`` of the image encoder.
        rejected: Facts of classes that got no reference, by name.

    Raises:
        OutputError: It cannot be written.
    """
    assert classes, "a bank has a class"
    assert all(len(each.references) <= MAX_SUBCATEGORIES for each in classes), "sub-categories have 8 bits"
    rows: list[dict[str, Any]] = []
    ends = {"images": 0, "references": 0, "negatives": 0}
    for each in classes:
        row: dict[str, Any] = {
            "name": each.name,
            "key": each.key,
            "synonyms": list(each.synonyms),
            "origins": list(each.origins),
        }
        for kind, tensor in (
            ("images", each.features),
            ("references", each.references),
            ("negatives", each.negatives),
        ):
            row[kind] = [ends[kind], ends[kind] + len(tensor)]
            ends[kind] += len(tensor)
        rows.append({**row, "facts": dict(each.facts)})
    jpegs = [jpeg for each in classes for jpeg in each.thumbnails]
    starts = np.cumsum([0, *map(len, jpegs)])
    scored = scores_of_images([(each.features.float(), each.clusters, each.references) for each in classes])
    tensors = {
        "features": torch.cat([each.features for each in classes]).half(),
        "clusters": torch.cat([each.clusters for each in classes]).to(torch.uint8),
        "references": torch.cat([each.references for each in classes]).float(),
        "negatives": torch.cat([each.negatives for each in classes]).half(),
        "profiles": profiles_of_references(scored),
        "nearness": nearness_of_images(scored),
        "thumbnails": torch.frombuffer(bytearray(b"".join(jpegs) or b"\0"), dtype=torch.uint8),
        "thumbnail_starts": torch.as_tensor(starts, dtype=torch.int64),
    }
    manifest = {
        "format": FORMAT,
        "sha256": digest_of(tensors),
        "encoder": dict(encoder),
        "classes": rows,
        "rejected": {name: dict((rejected or {})[name]) for name in sorted(rejected or {})},
    }
    with atomic_path(path) as temporary:
        text = json.dumps(manifest, ensure_ascii=False)
        save_file(tensors, temporary, metadata={"manifest": text})


class ReferenceBank:
    """A bank on disk. Opening checks the file once; thumbnails stay in it until they are used.

    Args:
        path: The file.

    Raises:
        DatasetError: It is absent, half-written, no bank, or one that contradicts itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise _absent(path)
        try:
            self._file = cast(Any, safe_open(path, framework="pt"))
            manifest = decode_json((self._file.metadata() or {}).get("manifest", "null"))
        except (SafetensorError, OSError, ValueError) as error:
            raise DatasetError(
                doing=f"opening the reference bank {path}",
                found=f"{path.stat().st_size:,} bytes that are not whole ({error})",
                expected="a file written by lexiseg references build",
                fix="Copy it again, or delete it and run the same lexiseg references build again.",
            ) from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            found = (
                f"the format {as_found(manifest.get('format'))}"
                if isinstance(manifest, dict)
                else "a safetensors file of something else"
            )
            raise DatasetError(
                doing=f"opening the reference bank {path}",
                found=found,
                expected=f"a bank in the format {FORMAT}",
                fix="Build it with this version: lexiseg references build.",
            )
        check_bank(path, manifest, self._file)
        self.manifest: dict[str, Any] = manifest
        self.encoder: dict[str, Any] = manifest["encoder"]
        self.names: tuple[str, ...] = tuple(row["name"] for row in manifest["classes"])
        self._rows: dict[str, dict[str, Any]] = {row["name"]: row for row in manifest["classes"]}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def rejected(self) -> dict[str, dict[str, Any]]:
        """Facts of the classes that got no reference, by name."""
        return self.manifest["rejected"]

    @cached_property
    def references(self) -> Float[Tensor, "R D"]:
        """Unit features of all sub-categories, class after class."""
        return self._file.get_tensor("references")

    def reference_rows(self, label: int) -> tuple[int, int]:
        """Return the first row of a class in ``references``, and the one after its last."""
        first, stop = self.manifest["classes"][label]["references"]
        return first, stop

    @cached_property
    def profiles(self) -> Float[Tensor, "R C"]:
        """Score of each reference's images against each class, leave-one-out for its own."""
        return self._file.get_tensor("profiles")

    @cached_property
    def nearness(self) -> Float[Tensor, " P"]:
        """Return the largest cosine of each image with any reference, itself left out; -1 where nothing is left."""
        return self._file.get_tensor("nearness")

    def nearness_quantile(self, share: float) -> float:
        """Return the cosine that this share of the images stays below; -1 where no image has another beside it."""
        known = self.nearness[self.nearness > -1]
        return float(known.quantile(share)) if len(known) else -1.0

    def synonyms(self, name: str) -> tuple[str, ...]:
        """Return further names of a class."""
        return tuple(self._rows[name]["synonyms"])

    @cached_property
    def negatives(self) -> Float[Tensor, "n D"]:
        """Unit features of what surrounded the objects of all classes."""
        return self._file.get_tensor("negatives")

    @cached_property
    def features(self) -> Float[Tensor, "P D"]:
        """Unit features of all images, class after class."""
        return self._file.get_tensor("features")

    @cached_property
    def image_classes(self) -> Int[Tensor, " P"]:
        """Which class each row of ``features`` belongs to."""
        counts = [len(row["origins"]) for row in self.manifest["classes"]]
        return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """Where each row of ``features`` came from."""
        return tuple(origin for row in self.manifest["classes"] for origin in row["origins"])

    def thumbnail(self, image: int) -> bytes:
        """Return an image of the bank, small, as a JPEG file."""
        start, stop = self._file.get_tensor("thumbnail_starts")[image : image + 2].tolist()
        part: UInt8[np.ndarray, " n"] = self._file.get_slice("thumbnails")[start:stop].numpy()
        return part.tobytes()

    def key(self, name: str) -> str | None:
        """Return the content key of a class; None where the bank does not have it."""
        return self._rows[name]["key"] if name in self._rows else None

    def read_class(self, name: str) -> ClassReferences:
        """Read all of one class."""
        row = self._rows[name]
        (first, stop) = row["images"]

        def part(tensor: str, kind: str) -> Tensor:
            start, end = row[kind]
            return self._file.get_slice(tensor)[start:end].clone()

        return ClassReferences(
            name=name,
            key=row["key"],
            features=part("features", "images").float(),
            clusters=part("clusters", "images").long(),
            references=part("references", "references"),
            negatives=part("negatives", "negatives").float(),
            thumbnails=tuple(self.thumbnail(image) for image in range(first, stop)),
            origins=tuple(row["origins"]),
            facts=row["facts"],
            synonyms=self.synonyms(name),
        )


def merge_banks(banks: Sequence[ReferenceBank], out: Path) -> int:
    """Write one bank with the classes of several; return the number of classes.

    Raises:
        DatasetError: Their encoders differ, or they hold different references for one class.
        OutputError: The result cannot be written.
    """
    merged: dict[str, ClassReferences] = {}
    homes: dict[str, ReferenceBank] = {}
    spelt: dict[str, str] = {}
    rejected: dict[str, Mapping[str, Any]] = {}
    first = banks[0]
    for bank in banks:
        if not same_encoder(bank.encoder, first.encoder):
            raise DatasetError(
                doing=f"merging {bank.path} with {first.path}",
                found=f"features of {describe_encoder(bank.encoder)} and of {describe_encoder(first.encoder)}",
                expected="banks built with one image encoder at one size",
                fix="Build one of them again with the other's --encoder.",
            )
        rejected.update(bank.rejected)
        for name in bank.names:
            home = homes.setdefault(name, bank)
            other = spelt.setdefault(class_key(name), name)
            if other != name:
                raise DatasetError(
                    doing=f"merging {bank.path} with {homes[other].path}",
                    found=f"the classes {other!r} and {name!r}, which differ by case or spaces only",
                    expected="one spelling of a class",
                    fix="Build one of the banks again with the other's spelling.",
                )
            if home.key(name) != bank.key(name):
                raise DatasetError(
                    doing=f"merging {bank.path} with {home.path}",
                    found=f"different references for the class {name!r} in the two",
                    expected="a class in one bank only, or the same in both",
                    fix="Build one of the banks again without that class.",
                )
            if name not in merged:
                merged[name] = bank.read_class(name)
    failed = {name: facts for name, facts in rejected.items() if name not in merged}
    with writing_alone(parts_folder(out)):  # not under a build that adds to it
        save_bank(out, list(merged.values()), encoder=first.encoder, rejected=failed)
    return len(merged)


def same_encoder(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two manifests mean one encoder at one size, wherever its files lie."""
    return all(one[entry] == other[entry] for entry in ("fingerprint", "short_side"))


def describe_encoder(encoder: Mapping[str, Any]) -> str:
    """Name an encoder of a manifest in a message."""
    return f"{encoder.get('name')} at {encoder.get('short_side')} pixels ({str(encoder.get('fingerprint'))[:12]})"


def rejection_text(facts: Mapping[str, Any]) -> str:
    """Describe how many images of a class were rejected and why; for a person."""
    rejected: Mapping[str, int] = facts["rejected"]
    if not facts["drawn"]:
        return "no image of that name"
    if not rejected:
        return "none"
    why = ", ".join(f"{count} × {reason}" for reason, count in rejected.items())
    return f"{sum(rejected.values()) / facts['drawn']:.0%} of {facts['drawn']}: {why}"


def parts_folder(path: Path) -> Path:
    """Return the folder where a build keeps finished classes until the bank is written."""
    return path.with_name(f"{path.name}.parts")


def is_bank(path: Path) -> bool:
    """Tell whether a path is meant to be a bank: by its ending, a build under way, or its first bytes."""
    try:
        if path.suffix == ".bank" or parts_folder(path).is_dir():
            return not path.is_dir()
        with path.open("rb") as file:
            return FORMAT.encode() in file.read(_HEADER_START)
    except (OSError, ValueError):  # no such file, a folder, or a name that no file can have
        return False


def _absent(path: Path) -> DatasetError:
    parts = parts_folder(path)
    finished = len(list(parts.glob("*.safetensors"))) if parts.is_dir() else 0
    if finished:
        return DatasetError(
            doing=f"opening the reference bank {path}",
            found=f"a half-written bank: {finished} finished classes in {parts}",
            expected="a build that ran to its end",
            fix="Run the same lexiseg references build again: it goes on where it stopped.",
        )
    return DatasetError(
        doing=f"opening the reference bank {path}",
        found="a folder" if path.is_dir() else "no such file",
        expected="a file written by lexiseg references build",
        fix='Build one: lexiseg references build --words "cat, dog" --source cutouts --from FOLDER --out BANK.',
    )
