"""Match a protocol with a data set's classes, and with what a run really did."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.packaged_names import packaged_vocabulary, spelling_key
from lexiseg.data.renamings import namings, rename
from lexiseg.scoring.protocols import Protocol


class AskedNames(NamedTuple):
    """What a model is asked for on a data set.

    Attributes:
        vocabulary: The names.
        classes: For each of them, the label of the data set's class it stands for.
    """

    vocabulary: Vocabulary
    classes: tuple[int, ...]


def names_for(protocol: Protocol, classes: Vocabulary) -> AskedNames:
    """Give the names to ask a model for on a data set, and which of its classes each stands for.

    Background is left out where it is not scored, so that it does not compete.

    Raises:
        DatasetError: The data set has other classes.
    """
    check_classes(protocol, classes)
    renamed = rename(classes, protocol.names, protocol.classes)
    names = [(name, *more) for name, more in zip(renamed.names, renamed.synonyms, strict=True)]
    background = renamed.background
    labels = list(range(len(names)))
    if background is not None and protocol.true_background == "ignored":
        labels.remove(background)
    elif background is not None and protocol.background_names:
        names[background] = protocol.background_names
    asked = Vocabulary(
        names=tuple(names[label][0] for label in labels),
        synonyms=tuple(names[label][1:] for label in labels),
        background=labels.index(background) if background in labels else None,
    )
    return AskedNames(asked, tuple(labels))


def check_classes(protocol: Protocol, classes: Vocabulary) -> None:
    """Refuse a data set with other classes.

    Raises:
        DatasetError: Names a class that differs, or says that there is no background to score.
    """
    doing = f"scoring with the protocol {protocol.name}"
    things = [name for label, name in enumerate(classes.names) if label != classes.background]
    if protocol.true_background == "class" and classes.background is None:
        raise DatasetError(
            doing=doing,
            found=f"a data set of {len(classes)} classes without background",
            expected="background among the classes, because this protocol scores it",
            fix=f"Use the form of the data set that has a background, or a protocol without: {_without(protocol)}.",
        )
    count = len(things) + (protocol.true_background == "class")
    if protocol.num_classes is not None and count != protocol.num_classes:
        raise _other_classes(protocol, f"{count} classes", f"{protocol.num_classes} classes")
    if protocol.classes is None:
        return
    wanted = packaged_vocabulary(protocol.classes)
    for name, right in zip(things, wanted.names, strict=False):
        if spelling_key(name) != spelling_key(right):
            raise _other_classes(
                protocol, f"class {name!r}", f"{right!r} in its place, as in {protocol.classes}"
            )


def _other_classes(protocol: Protocol, found: str, expected: str) -> DatasetError:
    return DatasetError(
        doing=f"scoring with the protocol {protocol.name}",
        found=found,
        expected=expected,
        fix="Choose the protocol of this data set, or one for any: mmseg, present-only, all-classes, boundary.",
    )


def _without(protocol: Protocol) -> str:
    return "mmseg" if protocol.benchmark == "any" else "one that ignores background, such as voc20 for VOC"


def as_run(
    protocol: Protocol, settings: Mapping[str, Any], asked: Vocabulary, classes: Vocabulary
) -> Protocol:
    """Give the protocol that a run really followed; its name shows what differs.

    Args:
        protocol: What was asked for.
        settings: The run's inference settings.
        asked: The names that the model was asked for.
        classes: The data set's classes.
    """
    changes: dict[str, Any] = {}
    for name, wanted in protocol.inference_changes().items():
        if name in settings and settings[name] != wanted:
            changes[name] = 0 if name == "window" and settings[name] is None else settings[name]
    spoken = _things(asked)
    if spoken != _things(rename(classes, protocol.names, protocol.classes)):
        of = (who for who in namings() if spoken == _things(rename(classes, who, protocol.classes)))
        changes["names"] = next(of, "others")
    if protocol.background_names and protocol.background_names not in asked.all_names():
        changes["background_names"] = ()
    if protocol.beyond:
        changes["beyond"] = ()
    return replace(protocol, **changes) if changes else protocol


def _things(vocabulary: Vocabulary) -> list[tuple[str, ...]]:
    return [names for label, names in enumerate(vocabulary.all_names()) if label != vocabulary.background]
