"""InferenceSettings: every choice between a picture and its label map."""

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_origin

from lexiseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """How a picture becomes a label map. Printed with every number, so nothing is implicit.

    Attributes:
        short_side: The image is resized (bilinear, antialiased) so that its short side has this
            many pixels, then rounded to multiples of the encoder's stride.
        max_long_side: Upper bound for the long side after that resize; the aspect is kept.
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
        refine: ``guided`` moves label borders to image edges; ``none`` leaves the encoder's grid.
        memory_mb: Working memory for upsampled scores; larger vocabularies are cut into chunks.
    """

    short_side: int = 448
    max_long_side: int = 2048
    window: int | None = None
    window_stride: int | None = None
    blend: Literal["mean", "tent"] = "mean"
    prompts: str = "single"
    synonyms: Literal["max", "mean"] = "max"
    background: Literal["none", "name", "threshold"] = "none"
    threshold: float | None = None
    refine: Literal["none", "guided"] = "guided"
    memory_mb: int = 64

    def __post_init__(self) -> None:
        for name in ("short_side", "max_long_side", "memory_mb", "window", "window_stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _unusable(name, value, "a positive number")
        if self.window is not None and self.window_stride is not None and self.window_stride > self.window:
            raise _unusable("window_stride", self.window_stride, f"at most the window's side, {self.window}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _unusable(name, getattr(self, name), f"one of: {', '.join(choices)}")


_CHOICES = {
    field.name: get_args(field.type)
    for field in fields(InferenceSettings)
    if get_origin(field.type) is Literal
}


def _unusable(name: str, value: object, expected: str) -> InputError:
    return InputError(
        doing="reading the inference settings",
        found=f"{name} = {value!r}",
        expected=expected,
        fix="Correct it, or leave it out for the model's own choice.",
    )
