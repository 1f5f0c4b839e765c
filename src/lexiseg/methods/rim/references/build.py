"""Build a bank: class by class, so that a stopped build goes on and a new class costs only itself."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from lexiseg.core.errors import DatasetError, InputError, LexisegError, OutputError
from lexiseg.core.file_names import class_key
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.mapping import Mapper
from lexiseg.methods.rim.references.bank import (
    ClassReferences,
    ReferenceBank,
    parts_folder,
    same_encoder,
    save_bank,
)
from lexiseg.methods.rim.references.build_class import BuildSettings, build_class, content_key
from lexiseg.methods.rim.references.sources import ReferenceSource

#: Opens a source of images, the encoder, and what else belongs to them, in another process.
Opener: TypeAlias = Callable[[], tuple[Any, ...]]


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
