"""InferenceSettings: every choice between an image and its label map."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.core.setting_ranges import Range
from lexiseg.ops.prompts import find_prompt_set

#: Fields that decide what is encoded; the others can change without encoding again.
ENCODING_FIELDS = ("short_side", "max_long_side", "keep_aspect", "window", "window_stride", "tiles")

#: Numbers that some of the fields can have.
RANGES = {
    "min_probability": Range(least=0, most=1),
    "logit_scale": Range(least=0, above=True),
    "min_area_share": Range(least=0, most=1),
}

#: Fields that were renamed, and how each old spelling is written now.
RENAMED = {"aspect": "keep_aspect=True for aspect='keep', keep_aspect=False for aspect='squash'"}


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """How an image becomes a label map. Printed with every number, so nothing is implicit.

    The command line's flags, their help and the choices that a protocol can fix are made from these fields.

    Attributes:
        short_side: Short side of the image that the model sees, in pixels, as far as ``max_long_side`` lets it,
            rounded to multiples of the encoder's stride; results keep the original size.
        max_long_side: Upper bound for the long side of the image that the model sees, in pixels.
        keep_aspect: Resize both sides alike; False makes every image a square of ``short_side``.
        window: Side of the square window that slides over the image that the model sees, in its pixels; none sees
            the image whole.
        window_stride: Step of the sliding window in the same pixels; half the window if left out.
        blend: Average of overlapping windows: mean weighs them alike, as mmsegmentation does; tent weighs less
            towards a window's edges.
        tiles: Handling of an image whose sides are more than 1.5 times those it is resized to: auto sees it also in
            windows of ``short_side`` at up to its own size; off sees only what ``short_side`` leaves of it.
        prompts: Name of the set of sentences that class names are put into, such as single, imagenet80 or vild14;
            a name that is none lists all.
        synonyms: Score of a class that has several names: the max over them, or that of their mean embedding.
        background: Pixels that are none of the words: none gives every pixel a word; name lets the word
            background compete, appended where the words have none; words lets a list of stuff words compete as one
            background, without those that are among the words; threshold makes pixels that score below
            ``threshold`` background; probability makes those background whose probability is below
            ``min_probability``.
        threshold: Least score of a pixel that is not background, on the model's own score scale; only with
            ``background`` threshold.
        min_probability: Least probability of a pixel that is not background: that of its best name in a softmax over
            all names that compete; with ``background`` probability, words or name.
        logit_scale: Factor of the scores in the softmax of ``min_probability``.
        min_area_share: Classes, background aside, that win at most this share of the pixels that all of them win lose
            theirs to the next best; none keeps all.
        refine: How label borders move to the edges in the image: guided (guided filter), crf (dense CRF), or
            none, which leaves the grid of the encoder.
        none_of_these: Handling of images and pixels that score no higher than words which are not there, where that was
            measured for the model: note says so of the image and hatches such pixels of it, label makes such pixels
            void in every image, off does not look.
        memory_mb: Working memory for upsampled scores in megabytes; larger vocabularies are cut into chunks.
    """

    short_side: int = 448
    max_long_side: int = 2048
    keep_aspect: bool = True
    window: int | None = None
    window_stride: int | None = None
    blend: Literal["mean", "tent"] = "mean"
    tiles: Literal["auto", "off"] = "auto"
    prompts: str = "single"
    synonyms: Literal["max", "mean"] = "max"
    background: Literal["none", "name", "words", "threshold", "probability"] = "none"
    threshold: float | None = None
    min_probability: float | None = None
    logit_scale: float = 40.0
    min_area_share: float | None = None
    refine: Literal["none", "guided", "crf"] = "guided"
    none_of_these: Literal["note", "label", "off"] = "note"
    memory_mb: int = 64

    def __new__(cls, **values: Any) -> "InferenceSettings":
        """Refuse a name that is no setting before ``__init__`` does with less to say."""
        refuse_unknown_settings(values)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name in ("short_side", "max_long_side", "memory_mb", "window", "window_stride"):
            value = getattr(self, name)
            if value is None and name.startswith("window"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _unusable(name, value, "a whole number above 0")
        if not isinstance(self.keep_aspect, bool):
            raise _unusable("keep_aspect", self.keep_aspect, "True or False")
        if self.threshold is not None and not _is_number(self.threshold):
            raise _unusable("threshold", self.threshold, "a number on the model's score scale")
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and allowed.holds(value)):
                raise _unusable(name, value, str(allowed))
        if self.window is not None and self.window_stride is not None and self.window_stride > self.window:
            raise _unusable("window_stride", self.window_stride, f"at most the window's side, {self.window}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _unusable(name, getattr(self, name), f"one of: {', '.join(choices)}")
        if not isinstance(self.prompts, str):
            raise _unusable("prompts", self.prompts, "the name of a prompt set")
        find_prompt_set(self.prompts)

    @property
    def is_by_probability(self) -> bool:
        """Return whether pixels of low probability become background."""
        return self.min_probability is not None and self.background in ("name", "words", "probability")

    def changed(self, **changes: Any) -> "InferenceSettings":
        """Change some fields, each of which must have an effect.

        Raises:
            InputError: A value cannot be used, or would be recorded without having been used: a
                threshold where background does not go by one, a step of windows without windows.
        """
        if "window" in changes and "window_stride" not in changes:
            changes["window_stride"] = None  # that of another window would say nothing
        if changes.get("window") is not None:  # who states windows states how large images are seen
            changes = {"tiles": "off", **changes}
        settings = replace(self, **changes)
        if changes.get("threshold") is not None and settings.background != "threshold":
            found = f"threshold = {settings.threshold!r} with background = {settings.background!r}"
            raise _without_effect(found, 'background="threshold"', "--background threshold")
        if changes.get("min_probability") is not None and not settings.is_by_probability:
            found = (
                f"min_probability = {settings.min_probability!r} with background = {settings.background!r}"
            )
            raise _without_effect(found, 'background="probability"', "--background probability")
        if "logit_scale" in changes and not settings.is_by_probability:
            found = f"logit_scale = {settings.logit_scale!r} without a least probability"
            raise _without_effect(found, "min_probability=<number>", "--min-probability NUMBER")
        if changes.get("window_stride") is not None and settings.window is None:
            found = f"window_stride = {settings.window_stride!r} without windows"
            raise _without_effect(found, "window=<pixels>", "--window PIXELS")
        return settings


def refuse_unknown_settings(names: Iterable[str]) -> None:
    """Refuse names that are no fields of ``InferenceSettings``.

    Raises:
        InputError: One was renamed; the message has the new spelling.
        UnknownNameError: There is no such setting; the message lists all.
    """
    known = [field.name for field in fields(InferenceSettings)]
    for name in names:
        if name in RENAMED:
            raise InputError(
                doing="reading the inference settings",
                found=f"the setting {name!r}, which has another name now",
                expected=RENAMED[name],
                fix="Write it so.",
            )
        if name not in known:
            raise UnknownNameError.of("inference setting", name, known)


def current_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded settings under the names that the fields have now; files written before a renaming have others."""
    current = dict(record)
    if "aspect" in current:
        current.setdefault("keep_aspect", current.pop("aspect") == "keep")
    current.setdefault("tiles", "off")  # until there were tiles, there were none
    return current


_CHOICES = {
    field.name: get_args(field.type)
    for field in fields(InferenceSettings)
    if get_origin(field.type) is Literal
}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _without_effect(found: str, in_python: str, option: str) -> InputError:
    return InputError(
        doing="reading the inference settings",
        found=f"{found}, where it has no effect",
        expected=f"{option} beside it ({in_python} in Python)",
        fix="Give both, or leave it out.",
    )


def _unusable(name: str, value: object, expected: str) -> InputError:
    return InputError(
        doing="reading the inference settings",
        found=f"{name} = {value!r}",
        expected=expected,
        fix="Correct it, or leave it out for the model's own choice.",
    )
