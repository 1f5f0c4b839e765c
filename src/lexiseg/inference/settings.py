"""InferenceSettings: every choice between a picture and its label map."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin

from lexiseg.core.errors import InputError
from lexiseg.ops.prompts import find_prompt_set

#: Fields that decide what is encoded; the others can change without encoding again.
ENCODING_FIELDS = ("short_side", "max_long_side", "aspect", "window", "window_stride")


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """How a picture becomes a label map. Printed with every number, so nothing is implicit.

    Attributes:
        short_side: The image is resized (bilinear, antialiased) so that its short side has this
            many pixels, then rounded to multiples of the encoder's stride.
        max_long_side: Upper bound for the long side after that resize; the aspect is kept.
        aspect: ``keep`` resizes both sides alike; ``squash`` makes every picture a square of ``short_side``.
        window: Side of the square sliding window in resized pixels, or None for the whole image.
        window_stride: Step between windows in resized pixels.
        blend: How overlapping windows are averaged: ``mean`` (all alike, as mmsegmentation) or
            ``tent`` (weight falls off linearly towards the window's edge).
        prompts: Name of the prompt set (``ops.prompts.PROMPT_SETS``).
        synonyms: Class score from several names: ``max`` over names, or one ``mean`` embedding.
        background: ``none`` (every pixel gets a class), ``name`` (a class named background
            competes like any other; appended when the words have none) or ``threshold`` (a
            pixel whose best score is below ``threshold`` becomes background).
        threshold: For ``background="threshold"``, on the model's own score scale.
        refine: ``guided`` moves label borders to image edges, ``crf`` does so with a dense CRF;
            ``none`` leaves the encoder's grid.
        memory_mb: Working memory for upsampled scores; larger vocabularies are cut into chunks.
    """

    short_side: int = 448
    max_long_side: int = 2048
    aspect: Literal["keep", "squash"] = "keep"
    window: int | None = None
    window_stride: int | None = None
    blend: Literal["mean", "tent"] = "mean"
    prompts: str = "single"
    synonyms: Literal["max", "mean"] = "max"
    background: Literal["none", "name", "threshold"] = "none"
    threshold: float | None = None
    refine: Literal["none", "guided", "crf"] = "guided"
    memory_mb: int = 64

    def __post_init__(self) -> None:
        for name in ("short_side", "max_long_side", "memory_mb", "window", "window_stride"):
            value = getattr(self, name)
            if value is None and name.startswith("window"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _unusable(name, value, "a whole number above 0")
        if self.threshold is not None and not _is_number(self.threshold):
            raise _unusable("threshold", self.threshold, "a number on the model's score scale")
        if self.window is not None and self.window_stride is not None and self.window_stride > self.window:
            raise _unusable("window_stride", self.window_stride, f"at most the window's side, {self.window}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _unusable(name, getattr(self, name), f"one of: {', '.join(choices)}")
        if not isinstance(self.prompts, str):
            raise _unusable("prompts", self.prompts, "the name of a prompt set")
        find_prompt_set(self.prompts)

    def changed(self, **changes: Any) -> "InferenceSettings":
        """Change some fields, each of which must have an effect.

        Raises:
            InputError: A value cannot be used, or would be recorded without having been used: a
                threshold where background does not go by one, a step of windows without windows.
        """
        settings = replace(self, **changes)
        if changes.get("threshold") is not None and settings.background != "threshold":
            found = f"threshold = {settings.threshold!r} with background = {settings.background!r}"
            raise _without_effect(found, 'background="threshold"', "--background threshold")
        if changes.get("window_stride") is not None and settings.window is None:
            found = f"window_stride = {settings.window_stride!r} without windows"
            raise _without_effect(found, "window=<pixels>", "--window PIXELS")
        return settings


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
