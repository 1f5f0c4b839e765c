"""Protocol: every choice between a model and a published number, frozen under a name.

Two papers that both print "mIoU on VOC" may differ in a dozen choices. A protocol lists them; its
name belongs to exactly these values. Whatever is changed shows in the name::

    >>> from dataclasses import replace
    >>> replace(find_protocol("groupvit-voc"), threshold=0.9).name
    'groupvit-voc+threshold=0.9'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

from lexiseg.core.errors import DatasetError, InputError, UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import OFFICIAL, namings, packaged_vocabulary, rename, spelling_key

#: Fields that are fields of ``InferenceSettings`` under the same name.
INFERENCE_FIELDS = (
    "short_side", "max_long_side", "window", "window_stride", "blend", "prompts", "synonyms", "background",
    "threshold", "refine",
)  # fmt: skip

#: Fields that describe a protocol without deciding anything.
_DESCRIPTIONS = ("name", "source", "benchmark", "datasets", "uncertain")

#: Every protocol made so far that was not made by changing another.
_ORIGINALS: "dict[str, Protocol]" = {}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a published number is made. A None among the inference choices leaves them to the model.

    Attributes:
        name: Unique; recomputed when anything else is changed.
        source: Paper or evaluator whose numbers these are.
        benchmark: Pictures and labels it is meant for.
        datasets: Names in ``data.datasets`` of what holds these; empty for any data.
        classes: List of this package that is scored, without background; None for whatever the data has.
        num_classes: Classes scored, background included where it is; None for whatever the data has.
        names: Whose class names the text encoder reads (``data.class_lists``).
        background_names: Words that together mean background; the best of them counts.
        short_side: As in ``InferenceSettings``, as are the others up to ``refine``.
        max_long_side: See there.
        window: See there; 0 says that there is none.
        window_stride: See there.
        blend: See there.
        prompts: See there.
        synonyms: See there.
        background: See there.
        threshold: See there. A number belongs to the score scale of the paper's model.
        refine: See there.
        beyond: Choices of the source that the shared inference path does not run; a number made without
            them says so in its name.
        uncertain: What is not known of the source.
        true_background: ``ignored`` drops pixels whose truth is background, ``class`` scores it like any
            class, ``as_labelled`` takes the data as they are.
        averaging: Classes whose IoU is averaged: those that occur or are predicted (mmsegmentation),
            those that occur (detectron2), or all with 0 for absent ones (ImageNet-S).
        boundary: Compare only bands along borders, this share of the picture's diagonal wide.
        unseen: Names of the unseen classes; empty for no split.
        absent_unseen: A class of a split that never occurs is skipped, or makes the mean undefined.
        imagenet_s: Also compute what the ImageNet-S evaluator prints beside the mean (``metrics.imagenet_s``).
    """

    name: str
    source: str
    benchmark: str = "any"
    datasets: tuple[str, ...] = ()
    classes: str | None = None
    num_classes: int | None = None
    names: str = OFFICIAL
    background_names: tuple[str, ...] = ()
    short_side: int | None = None
    max_long_side: int | None = None
    window: int | None = None
    window_stride: int | None = None
    blend: Literal["mean", "tent"] | None = None
    prompts: str | None = None
    synonyms: Literal["max", "mean"] | None = None
    background: Literal["none", "name", "threshold"] | None = None
    threshold: float | None = None
    refine: Literal["none", "guided", "crf"] | None = None
    beyond: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    true_background: Literal["ignored", "class", "as_labelled"] = "as_labelled"
    averaging: Literal["occurs_or_predicted", "occurs", "all"] = "occurs_or_predicted"
    boundary: float | None = None
    unseen: tuple[str, ...] = ()
    absent_unseen: Literal["skip", "undefined"] = "skip"
    imagenet_s: bool = False
    original: "Protocol | None" = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.original is None or self._renamed(self.original):
            object.__setattr__(self, "original", self)
            if _ORIGINALS.setdefault(self.name, self) != self:
                raise InputError(
                    doing=f"making the protocol {self.name}",
                    found="a protocol of that name with other choices",
                    expected="one meaning a name, so that no number carries a false one",
                    fix="Choose another name, or change the known one with dataclasses.replace.",
                )
        object.__setattr__(self, "name", self._true_name())

    def _renamed(self, original: "Protocol") -> bool:
        return self.name != original.name and not self.name.startswith(f"{original.name}+")

    def _true_name(self) -> str:
        assert self.original is not None
        changes = self.changes()
        return "+".join([self.original.name, *(f"{key}={_short(value)}" for key, value in changes.items())])

    def changes(self) -> dict[str, object]:
        """Give the choices that differ from the protocol the name begins with."""
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in (*_DESCRIPTIONS, "original")
            and getattr(self, item.name) != getattr(self.original, item.name)
        }

    def __str__(self) -> str:
        """Show every choice, one a line."""
        lines = [self.name]
        for item in fields(self):
            if item.name not in ("name", "original"):
                value = getattr(self, item.name)
                shown = "the model's own" if value is None and item.name in INFERENCE_FIELDS else _show(value)
                lines.append(f"  {item.name:<17}{shown}")
        return "\n".join(lines)

    def inference_changes(self) -> dict[str, Any]:
        """Give the fields of ``InferenceSettings`` that this protocol fixes."""
        given = {name: getattr(self, name) for name in INFERENCE_FIELDS}
        fixed = {name: value for name, value in given.items() if value is not None}
        if fixed.get("window") == 0:
            fixed |= {"window": None, "window_stride": None}
        return fixed


def find_protocol(name: str) -> Protocol:
    """Look a protocol up by name.

    Raises:
        UnknownNameError: There is none; the message lists all.
    """
    from lexiseg.scoring.published import PROTOCOLS

    if name not in PROTOCOLS:
        raise UnknownNameError.of("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def _short(value: object) -> str:
    return "none" if value in (None, ()) else ",".join(value) if isinstance(value, tuple) else str(value)


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(value) or "–"
    return "–" if value is None else str(value)


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
