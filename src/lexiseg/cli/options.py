"""Options that more than one command takes."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from lexiseg.inference.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How pictures become label maps; what is left out is the model's own choice."""

    background: Literal["none", "name", "threshold"] | None = None
    """Pixels that are none of the words: none (every pixel gets a word), name (the word
    background competes) or threshold (pixels that score below --threshold)."""

    threshold: Annotated[float | None, tyro.conf.arg(metavar="SCORE")] = None
    """For --background threshold: on the model's own score scale."""

    refine: Literal["none", "guided"] | None = None
    """Move label borders to the edges in the picture (guided), or leave the model's grid (none)."""

    short_side: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Short side that pictures are resized to for the model; results keep the original size."""

    window: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Slide a square window of this side over the resized picture, for large or detailed ones."""

    window_stride: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Step of the sliding window; half the window if left out."""

    blend: Literal["mean", "tent"] | None = None
    """How overlapping windows are averaged."""

    prompts: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Prompt set: bare, single, imagenet80, openai7, maskclip85, vild14, vild63, …"""

    synonyms: Literal["max", "mean"] | None = None
    """Score of a class with several names."""

    def changes(self) -> dict[str, Any]:
        """Give the settings that were named on the command line."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model runs where."""

    model: Annotated[str, tyro.conf.arg(metavar="NAME|ID|FOLDER")] = "mini"
    """mini, a hub id such as openai/clip-vit-base-patch16, or a local checkpoint folder."""

    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """cpu, cuda, cuda:1, …; auto takes a GPU when there is one."""


def load_segmenter(name: str, device: str) -> "Segmenter":
    """Load a model and print, once, what must be known before trusting it."""
    import sys

    from lexiseg.recipes import load

    segmenter = load(name, device=device)
    if segmenter.notice:
        print(f"note: {segmenter.notice}", file=sys.stderr)
    return segmenter
