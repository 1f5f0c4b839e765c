"""Build a bank: class by class, so that a stopped build goes on and a new class costs only itself."""

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.errors import DatasetError, InputError, LexisegError, OutputError
from lexiseg.core.file_names import class_key
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.mapping import Mapper
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.methods.rim.references.bank import (
    ClassReferences,
    ReferenceBank,
    parts_folder,
    same_encoder,
    save_bank,
)
from lexiseg.methods.rim.references.bank_checks import MAX_SUBCATEGORIES
from lexiseg.methods.rim.references.sources import (
    Drawn,
    ReferenceImage,
    ReferenceSource,
    RejectedImage,
)
from lexiseg.ops.region_pooling import pool_regions
from lexiseg.ops.spherical_kmeans import Clusters, spherical_kmeans

#: Opens a source of images, the encoder, and what else belongs to them, in another process.
Opener: TypeAlias = Callable[[], tuple[Any, ...]]

THUMBNAIL_SIDE = 56
_THUMBNAIL_QUALITY = 70


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How images of a class become its references.

    Attributes:
        images: Images a class; 50 is stated in the paper.
        subcategories: References a class, by k-means over its images; fewer where it has fewer images.
        short_side: Short side of what the image encoder sees.
        seed: Seed of k-means.
    """

    images: int = 50
    subcategories: int = 5
    short_side: int = 518
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("images", None), ("subcategories", MAX_SUBCATEGORIES), ("short_side", None)):
            value = getattr(self, name)
            if value < 1 or (most is not None and value > most):
                raise InputError(
                    doing="reading the settings of a reference bank",
                    found=f"{name} = {value}",
                    expected="a positive number" + (f", {most} at most" if most else ""),
                    fix="Correct it, or leave it out.",
                )


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build did.

    Attributes:
        made: Classes built now.
        kept: Classes that were there already.
        rejected: Facts of the classes without a usable image, by name.
        damaged: Images of these classes that could not be read, and why.
        notes: What the source met that a person should know of.
    """

    made: tuple[str, ...]
    kept: tuple[str, ...]
    rejected: Mapping[str, Mapping[str, Any]]
    damaged: Mapping[str, str]
    notes: tuple[str, ...] = ()


def build_bank(
    names: Sequence[str],
    source: ReferenceSource,
    encoder: ImageEncoder,
    out: Path,
    *,
    encoder_facts: Mapping[str, Any],
    synonyms: Sequence[Sequence[str]] | None = None,
    settings: BuildSettings | None = None,
    advance: Callable[[], None] = lambda: None,
    apply: Mapper = map,
    opened_by: Opener | None = None,
) -> Built:
    """Build references for some classes and write them to a bank.

    Each finished class is kept beside ``out`` until the bank is written, so the same call after a stop
    goes on with the next class. A bank that is there already keeps its classes, and those whose
    images, encoder and settings have not changed are not built again.

    Args:
        names: The classes.
        source: Gives their images.
        encoder: Gives features; never trained.
        out: The bank.
        encoder_facts: ``name`` and ``fingerprint`` of the encoder.
        synonyms: Further names of each class. Where the images of its name are too few those of its synonyms
            count, in order, and the class answers to them.
        settings: Numbers of images and sub-categories.
        advance: Called after each class.
        apply: Builds classes, by several workers for example.
        opened_by: Opens source and encoder in other processes; None where there are none.

    Raises:
        DatasetError: No class has a usable image, or the bank that is there has another encoder.
        InputError: Another build writes this bank, or two classes, of the names or of the bank that is there,
            differ by case or spaces only.
        OutputError: The bank cannot be written.
    """
    settings = settings or BuildSettings()
    with writing_alone(parts_folder(out)):  # what is kept there, and the bank, belong to one build at a time
        work = _Builder(source, encoder, settings, parts_folder(out), opened_by)
        return _build(names, work, out, encoder_facts, advance, synonyms, apply)


def _build(
    names: Sequence[str],
    work: "_Builder",
    out: Path,
    encoder_facts: Mapping[str, Any],
    advance: Callable[[], None],
    synonyms: Sequence[Sequence[str]] | None,
    apply: Mapper,
) -> Built:
    source, settings = work.source, work.settings
    facts = {**encoder_facts, "short_side": settings.short_side}
    old = ReferenceBank(out) if out.is_file() else None
    _refuse_spellings([*(old.names if old else ()), *names], out)
    if old is not None and not same_encoder(old.encoder, facts):
        raise DatasetError(
            doing=f"adding classes to the reference bank {out}",
            found=f"features of {old.encoder}",
            expected=f"features of {facts}",
            fix="Write to another file with --out, or delete the old bank.",
        )
    facts = old.encoder if old is not None else facts
    work.facts = facts
    found: dict[str, ClassReferences] = {}
    wanted: list[_Wanted] = []
    rejected: dict[str, Mapping[str, Any]] = dict(old.rejected) if old else {}
    for name, further in zip(names, synonyms or [()] * len(names), strict=True):
        try:
            one = _Wanted(name, content_key(name, source, facts, settings, further), tuple(further))
        except OSError as error:  # an image that cannot be opened
            rejected[name] = _unreadable(source, error.strerror or str(error))
            advance()
            continue
        rejected.pop(name, None)
        if old is not None and old.key(name) == one.key:
            found[name] = old.read_class(name)
        elif (finished := work.finished(one)) is not None:
            found[name] = finished
        else:
            wanted.append(one)
            continue
        advance()
    kept = list(found)
    notes: dict[int, list[str]] = {}  # of every process, the last ones: they grow
    for one, (reason, process, met) in zip(wanted, apply(work, wanted), strict=True):
        notes[process] = met
        if reason is None:
            built = work.finished(one)
            assert built is not None, "just written"
            found[one.name] = built
        else:
            rejected[one.name] = reason
        advance()
    made = [one.name for one in wanted if one.name in found]
    done = [found[name] for name in names if name in found]
    facts_of_classes = [each.facts for each in done] + [rejected[name] for name in names if name in rejected]
    damaged = {origin: why for each in facts_of_classes for origin, why in each.get("damaged", {}).items()}
    if old is not None:  # classes stay where they were, new ones come after them
        new = {each.name: each for each in done}
        kept_or_new = [
            new.pop(name) if name in new else old.read_class(name)
            for name in old.names
            if name not in rejected
        ]
        done = [*kept_or_new, *new.values()]
    if not done:
        raise _nothing_usable(names, source, rejected)
    save_bank(out, done, encoder=facts, rejected=rejected)
    shutil.rmtree(work.parts, ignore_errors=True)
    return Built(
        made=tuple(made),
        kept=tuple(kept),
        rejected={name: rejected[name] for name in names if name in rejected},
        damaged=damaged,
        notes=tuple(dict.fromkeys(note for met in (source.notes(), *notes.values()) for note in met)),
    )


class _Wanted(NamedTuple):
    """A class that is to be built: its name, content key and synonyms."""

    name: str
    key: str
    synonyms: tuple[str, ...]


class _Builder:
    """Builds one class into a file of its own; in another process source and encoder are opened there, once."""

    def __init__(
        self,
        source: ReferenceSource,
        encoder: ImageEncoder,
        settings: BuildSettings,
        parts: Path,
        opened_by: Opener | None,
    ) -> None:
        self.source, self._encoder = source, encoder
        self.settings, self.parts = settings, parts
        self._opened_by = opened_by
        self.facts: Mapping[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("source", "_encoder")}

    def __call__(self, wanted: _Wanted) -> tuple[dict[str, Any] | None, int, list[str]]:
        """Write a class; return why there is none, and of which process the source met what so far."""
        if "source" not in vars(self):
            assert self._opened_by is not None, "sent to another process"
            self.source, self._encoder, *_ = self._opened_by()
        name, key, synonyms = wanted
        built = _class_or_why_not(name, key, self.source, self._encoder, self.settings, synonyms)
        if not isinstance(built, ClassReferences):
            return built, os.getpid(), self.source.notes()
        save_bank(self._part(wanted), [built], encoder=self.facts)
        return None, os.getpid(), self.source.notes()

    def finished(self, wanted: _Wanted) -> ClassReferences | None:
        """Read a class that is written; None where there is none, or its file is damaged."""
        part = self._part(wanted)
        try:
            return ReferenceBank(part).read_class(wanted.name) if part.is_file() else None
        except (DatasetError, KeyError):  # built again
            return None

    def _part(self, wanted: _Wanted) -> Path:
        return self.parts / f"{wanted.key}.safetensors"


def _class_or_why_not(
    name: str,
    key: str,
    source: ReferenceSource,
    encoder: ImageEncoder,
    settings: BuildSettings,
    synonyms: Sequence[str],
) -> ClassReferences | dict[str, Any]:
    """Build one class; what cannot be used of it must not cost the other classes."""
    try:
        return build_class(name, key, source, encoder, settings, synonyms)
    except OutputError:
        raise
    except LexisegError as error:
        return _unreadable(source, f"{error.doing}: {error.found}")
    except OSError as error:
        return _unreadable(source, error.strerror or str(error))


def _unreadable(source: ReferenceSource, reason: str) -> dict[str, Any]:
    return {"source": source.name, **source.facts(), "drawn": 1, "rejected": {reason: 1}}


def content_key(
    name: str,
    source: ReferenceSource,
    encoder: Mapping[str, Any],
    settings: BuildSettings,
    synonyms: Sequence[str] = (),
) -> str:
    """Hash everything that decides the references of a class; where the encoder's files lie does not."""
    what = [name, source.name, dict(source.facts()), source.content(name, settings.images)]
    what += [[further, source.content(further, settings.images)] for further in synonyms]
    seen = [encoder["fingerprint"], encoder["short_side"]]
    text = json.dumps([*what, seen, asdict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_spellings(names: Sequence[str], out: Path) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(class_key(name), name)
        if other != name:
            raise InputError(
                doing=f"building the reference bank {out}",
                found=f"the classes {other!r} and {name!r}, which differ by case or spaces only",
                expected="one spelling of a class",
                fix=f"Write {other!r} both times, or leave one out.",
            )


@torch.inference_mode()
def build_class(
    name: str,
    key: str,
    source: ReferenceSource,
    encoder: ImageEncoder,
    settings: BuildSettings,
    synonyms: Sequence[str] = (),
) -> ClassReferences | dict[str, Any]:
    """Encode the images of one class; return only the facts where every image is rejected."""
    features: list[Tensor] = []
    outside, thumbnails, origins = [], [], []
    masks = {"given": 0, "found": 0}
    reasons: Counter[str] = Counter()
    damaged: dict[str, str] = {}
    for drawn in _draw_by_names([name, *synonyms], source, settings.images):
        if isinstance(drawn, RejectedImage):
            reasons[drawn.reason] += 1
            if drawn.is_damaged:
                damaged[drawn.origin] = drawn.reason
            continue
        inside, around = pool_image(drawn, encoder, settings.short_side)
        features.append(inside)
        if around is not None:
            outside.append(around)
        thumbnails.append(_thumbnail(drawn))
        origins.append(drawn.origin)
        masks["given" if drawn.mask_is_given else "found"] += 1
    facts: dict[str, Any] = {
        "source": source.name,
        **source.facts(),
        "drawn": len(features) + reasons.total(),
        "rejected": dict(reasons),
        "damaged": damaged,
        "masks": masks,
    }
    if not features:
        return facts
    stacked = torch.stack(features).half().float()  # as the bank keeps them: nothing is computed from more
    clustered = _cluster(stacked, settings)
    return ClassReferences(
        name=name,
        key=key,
        features=stacked,
        clusters=clustered.assignment,
        references=clustered.centroids,
        negatives=_cluster(torch.stack(outside).half().float(), settings).centroids.half().float()
        if outside
        else stacked[:0],
        thumbnails=tuple(thumbnails),
        origins=tuple(origins),
        facts=facts,
        synonyms=tuple(synonyms),
    )


def _draw_by_names(names: Sequence[str], source: ReferenceSource, count: int) -> Iterator[Drawn]:
    """Draw by one name after the other until there are enough; an image that goes by two of them counts once."""
    usable = 0
    met: set[str] = set()
    for name in names:
        if usable == count:
            return
        for drawn in source.draw(name, count):
            if usable == count:
                return
            if drawn.origin not in met:
                met.add(drawn.origin)
                usable += isinstance(drawn, ReferenceImage)
                yield drawn


def _cluster(features: Float[Tensor, "K D"], settings: BuildSettings) -> Clusters:
    return spherical_kmeans(features, min(settings.subcategories, len(features)), seed=settings.seed)


def pool_image(
    image: ReferenceImage, encoder: ImageEncoder, short_side: int
) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"] | None]:
    """Return the unit features inside and outside the mask; None for an empty backdrop."""
    size = fitted_size(
        image.image.shape[:2],
        short_side=short_side,
        max_long_side=3 * short_side,
        multiple_of=encoder.stride,
    )
    device = next(encoder.parameters()).device
    encoded = encoder(resize_image(image.image, size)[None].to(device))
    both = pool_regions(encoded.tokens[0].cpu(), encoded.grid, np.stack([image.mask, ~image.mask]))
    inside, outside = normalize(both, dim=-1)
    return inside, outside if image.has_scene else None


def _thumbnail(photo: ReferenceImage) -> bytes:
    """Cut the object out with a margin and make a small JPEG of it, the rest paled."""
    rows, columns = np.flatnonzero(photo.mask.any(1)), np.flatnonzero(photo.mask.any(0))
    margin = max(len(rows), len(columns)) // 8
    window = (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
    pixels: UInt8[np.ndarray, "h w 3"] = photo.image[window].copy()
    pale = ~photo.mask[window]
    pixels[pale] = 128 + pixels[pale] // 2
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    held = io.BytesIO()
    image.save(held, format="JPEG", quality=_THUMBNAIL_QUALITY)
    return held.getvalue()


def _nothing_usable(
    names: Sequence[str], source: ReferenceSource, rejected: Mapping[str, Mapping[str, Any]]
) -> DatasetError:
    reasons: Counter[str] = Counter()
    for name in names:
        reasons.update(rejected[name]["rejected"])
    why = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
    return DatasetError(
        doing=f"building references for {', '.join(names)} from the source {source.name}",
        found=f"no usable image ({why})" if why else "no image of that name",
        expected="one usable image or more for at least one class",
        fix="Check the class names and --from, or choose another --source.",
    )
