"""Protocol: every choice between a model and a published number, frozen under a name.

Two papers that both print "mIoU on VOC" may differ in a dozen choices. A protocol lists them; its
name belongs to exactly these values. Whatever is changed shows in the name::

    >>> from dataclasses import replace
    >>> replace(find_protocol("groupvit-voc"), threshold=0.9).name
    'groupvit-voc+threshold=0.9'
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.data.renamings import OFFICIAL

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
        names: Whose class names the text encoder reads (``data.renamings``).
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
    from lexiseg.scoring.protocol_table import PROTOCOLS

    if name not in PROTOCOLS:
        raise UnknownNameError.of("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def _short(value: object) -> str:
    return "none" if value in (None, ()) else ",".join(value) if isinstance(value, tuple) else str(value)


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return "; ".join(value) or "–"
    return "–" if value is None else str(value)
