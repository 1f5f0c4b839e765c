"""Protocol: every choice between a model and a published number, frozen under a name.

Two papers that both print "mIoU on VOC" may differ in a dozen choices. A protocol lists them; its
name belongs to exactly these values. Whatever is changed shows in the name::

    >>> from lexiseg.scoring.published import find_protocol
    >>> find_protocol("groupvit-voc").changed(threshold=0.9).name
    'groupvit-voc+threshold=0.9'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import OFFICIAL, namings, packaged_vocabulary, rename, spelling_key
from lexiseg.inference.settings import InferenceSettings, current_names, refuse_unknown_settings

#: Fields that describe a protocol without deciding anything.
DESCRIPTIONS = ("name", "source", "benchmark", "datasets", "unknown", "original")

#: Fields that were renamed.
_RENAMED = {"beyond": "steps", "uncertain": "unknown"}

#: In a name: a setting that the protocol it begins with fixes, and this one does not.
UNFIXED = "unfixed"

#: Every protocol made so far that was not made by changing another.
_ORIGINALS: "dict[str, Protocol]" = {}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a published number is made.

    Attributes:
        name: Unique; recomputed when anything else is changed.
        source: Paper or evaluator whose numbers these are.
        benchmark: Images and labels it is meant for.
        datasets: Names in ``data.datasets`` of what holds these; empty for any data.
        classes: List of this package that is scored, without background; None for whatever the data has.
        num_classes: Classes scored, background included where it is; None for whatever the data has.
        names: Whose class names the text encoder reads (``data.class_lists``).
        background_names: Words that together mean background; the best of them counts.
        inference: Values of ``InferenceSettings`` that are fixed; what is not named is the model's own choice.
            A threshold belongs to the score scale of the paper's model.
        steps: Keys in ``published.STEPS`` of what the source does beyond the common path of inference. A method
            may apply some of them (``Segmenter.applies``).
        not_applied: Steps that a run did not apply; empty where it followed the protocol.
        unknown: What is not known of the source.
        true_background: ``ignored`` drops pixels whose truth is background, ``class`` scores it like any
            class, ``as_labelled`` takes the data as they are.
        averaging: Classes whose IoU is averaged, a key of ``metrics.iou.AVERAGES``: those that occur or are
            predicted (mmsegmentation), those that occur (detectron2), or all with 0 for absent ones
            (ImageNet-S).
        boundary: Compare only bands along borders, this share of the image's diagonal wide.
        unseen: Names of the unseen classes; empty for no split.
        absent_unseen: A class of a split that never occurs is skipped, or makes the mean undefined.
        imagenet_s: Also compute what the ImageNet-S evaluator prints beside the mean (``metrics.imagenet_s``).
        original: The protocol that this one was made from by changing it; itself where there is none.

    Raises:
        InputError: Two different protocols have one name, or a setting cannot be used.
        UnknownNameError: ``inference`` names no setting.
    """

    name: str
    source: str
    benchmark: str = "any"
    datasets: tuple[str, ...] = ()
    classes: str | None = None
    num_classes: int | None = None
    names: str = OFFICIAL
    background_names: tuple[str, ...] = ()
    inference: Mapping[str, Any] = field(default_factory=dict, hash=False)
    steps: tuple[str, ...] = ()
    not_applied: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    true_background: Literal["ignored", "class", "as_labelled"] = "as_labelled"
    averaging: Literal["occurs_or_predicted", "occurs", "all"] = "occurs_or_predicted"
    boundary: float | None = None
    unseen: tuple[str, ...] = ()
    absent_unseen: Literal["skip", "undefined"] = "skip"
    imagenet_s: bool = False
    original: "Protocol | None" = field(default=None, repr=False, compare=False)

    def __new__(cls, **values: Any) -> "Protocol":
        """Refuse old spellings before ``__init__`` does with less to say."""
        settings = {item.name for item in fields(InferenceSettings)}
        for name in values:
            if name in _RENAMED:
                raise _respelt(name, f"{_RENAMED[name]}=")
            if name in settings:
                raise _respelt(
                    name, f"inference={{{name!r}: …}}, or protocol.changed({name}=…) to change one"
                )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        refuse_unknown_settings(self.inference)
        # A source that says how images are seen says it of large ones too.
        stated = {"tiles": "off", **self.inference} if self.inference else {}
        InferenceSettings(**stated)
        order = [item.name for item in fields(InferenceSettings) if item.name in stated]
        fixed = MappingProxyType({name: stated[name] for name in order})
        object.__setattr__(self, "inference", fixed)
        if self.original is None or self._renamed(self.original):
            object.__setattr__(self, "original", self)
            if _ORIGINALS.setdefault(self.name, self) != self:
                raise InputError(
                    doing=f"making the protocol {self.name}",
                    found="a protocol of that name with other choices",
                    expected="one meaning a name, so that no number carries a false one",
                    fix="Choose another name, or change the known one with its method changed.",
                )
        object.__setattr__(self, "name", self._true_name())

    def _renamed(self, original: "Protocol") -> bool:
        return self.name != original.name and not self.name.startswith(f"{original.name}+")

    def _true_name(self) -> str:
        assert self.original is not None
        changes = self.changes()
        return "+".join([self.original.name, *(f"{key}={_short(value)}" for key, value in changes.items())])

    def changed(self, **changes: Any) -> "Protocol":
        """Change fields of the protocol or settings that it fixes; all of it shows in the name.

        Args:
            changes: Fields of ``Protocol`` or of ``InferenceSettings``.

        Raises:
            InputError: A value cannot be used.
            UnknownNameError: There is no such field and no such setting.
        """
        own = {item.name for item in fields(self)} | set(_RENAMED)
        inference = {name: value for name, value in changes.items() if name not in own}
        mine = {name: value for name, value in changes.items() if name in own}
        if inference:
            mine["inference"] = {**mine.get("inference", self.inference), **inference}
        return replace(self, **mine)

    def changes(self) -> dict[str, object]:
        """Return the choices that differ from the protocol the name begins with, settings one by one."""
        assert self.original is not None
        found: dict[str, object] = {}
        for item in fields(self):
            here, there = getattr(self, item.name), getattr(self.original, item.name)
            if item.name in DESCRIPTIONS or here == there:
                continue
            if item.name != "inference":
                found[item.name] = here
                continue
            for setting in fields(InferenceSettings):
                own = here.get(setting.name, UNFIXED)
                if own != there.get(setting.name, UNFIXED):
                    found[setting.name] = own
        return found

    def choices(self) -> dict[str, Any]:
        """Return every choice as plain values, as JSON can hold them."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _NO_CHOICE}
        values["inference"] = dict(self.inference)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def __str__(self) -> str:
        """Show every choice, one a line."""
        lines = [self.name]
        for name, value in self.choices().items():
            if name != "inference":
                lines.append(f"  {name:<17}{_show(value)}")
                continue
            for setting in fields(InferenceSettings):
                fixed = setting.name in self.inference
                shown = _short(self.inference[setting.name]) if fixed else "the model's own"
                lines.append(f"  {setting.name:<17}{shown}")
        return "\n".join(lines)


_NO_CHOICE = ("name", "original")


def _respelt(name: str, now: str) -> InputError:
    return InputError(
        doing="making a protocol",
        found=f"the field {name!r}, which is written in another way now",
        expected=now,
        fix="Write it so.",
    )


def _short(value: object) -> str:
    return "none" if value in (None, ()) else ",".join(value) if isinstance(value, tuple) else str(value)


def _show(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(value) or "–"
    return "–" if value is None else str(value)


class PromptedClasses(NamedTuple):
    """What a model is prompted with on a data set.

    Attributes:
        vocabulary: The names.
        classes: For each of them, the label of the data set's class it stands for.
    """

    vocabulary: Vocabulary
    classes: tuple[int, ...]


def names_for(protocol: Protocol, classes: Vocabulary) -> PromptedClasses:
    """Return the names to ask a model for on a data set, and which of its classes each stands for.

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
    return PromptedClasses(asked, tuple(labels))


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
    fit_any = [name for name, known in _ORIGINALS.items() if known.benchmark == "any"]
    return DatasetError(
        doing=f"scoring with the protocol {protocol.name}",
        found=found,
        expected=expected,
        fix=f"Choose the protocol of this data set, or one for any: {', '.join(fit_any)}.",
    )


def _without(protocol: Protocol) -> str:
    return "mmseg" if protocol.benchmark == "any" else "one that ignores background, such as voc20 for VOC"


def effective_protocol(
    protocol: Protocol, settings: Mapping[str, Any], prompted: Vocabulary, classes: Vocabulary
) -> Protocol:
    """Return the protocol that a run really followed; its name shows what differs.

    A setting that the run did not record, as in a store written before the setting existed, is not known to have
    been followed: it differs too.

    Args:
        protocol: What was asked for.
        settings: What the run recorded: its inference settings and, under ``applies``, the steps beyond the
            common path that its method applied itself.
        prompted: The names that the model was prompted with.
        classes: The data set's classes.
    """
    recorded = current_names(settings)
    followed = {name: recorded[name] for name in protocol.inference if name in recorded}
    changes: dict[str, Any] = {} if followed == protocol.inference else {"inference": followed}
    names = _things(prompted)
    if names != _things(rename(classes, protocol.names, protocol.classes)):
        of = (who for who in namings() if names == _things(rename(classes, who, protocol.classes)))
        changes["names"] = next(of, "others")
    if protocol.background_names and protocol.background_names not in prompted.all_names():
        changes["background_names"] = ()
    applied = settings.get("applies", ())
    if left := tuple(step for step in protocol.steps if step not in applied):
        changes["not_applied"] = left
    return protocol.changed(**changes) if changes else protocol


def _things(vocabulary: Vocabulary) -> list[tuple[str, ...]]:
    return [names for label, names in enumerate(vocabulary.all_names()) if label != vocabulary.background]
