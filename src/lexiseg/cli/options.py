"""Options that more than one command takes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    from lexiseg.core.vocabulary import Vocabulary
    from lexiseg.inference.segmenter import Segmenter


def option(metavar: str, text: str) -> Any:
    """Describe an option that may be left out: its value's name, and a sentence."""
    return tyro.conf.arg(metavar=metavar, help=text, help_behavior_hint="")


ModelName = Annotated[
    str,
    tyro.conf.arg(
        metavar="MODEL",
        help="mini, a bank of reference images, the folder of a run, or the hub id or local folder of a checkpoint "
        "such as openai/clip-vit-base-patch16.",
    ),
]
MethodChanges = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(
        name="set",
        metavar="NAME=VALUE",
        help="Change a setting of the model's method; may be given several times. lexiseg models MODEL lists them.",
        help_behavior_hint="",
    ),
]
Device = Annotated[
    str,
    tyro.conf.arg(metavar="DEVICE", help="cpu, cuda, cuda:1, …; auto takes a GPU when there is one."),
]


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How pictures become label maps; what is left out is the model's own choice."""

    background: Annotated[
        Literal["none", "name", "threshold"] | None,
        option(
            "none|name|threshold",
            "Pixels that are none of the words: none gives every pixel a word; name lets the word background "
            "compete; threshold makes pixels that score below --threshold background.",
        ),
    ] = None
    threshold: Annotated[
        float | None, option("SCORE", "For --background threshold, on the model's own score scale.")
    ] = None
    refine: Annotated[
        Literal["none", "guided", "crf"] | None,
        option(
            "none|guided|crf",
            "Move label borders to the edges in the picture (guided, or with a dense CRF), or leave the "
            "model's grid.",
        ),
    ] = None
    short_side: Annotated[
        int | None,
        option(
            "PIXELS",
            "Short side of the picture that the model sees, as far as --max-long-side lets it; results keep "
            "the original size.",
        ),
    ] = None
    max_long_side: Annotated[
        int | None, option("PIXELS", "Upper bound for the long side of the picture that the model sees.")
    ] = None
    window: Annotated[
        int | None,
        option("PIXELS", "Slide a square window of this side over what the model sees, for large pictures."),
    ] = None
    window_stride: Annotated[
        int | None, option("PIXELS", "Step of the sliding window; half the window if left out.")
    ] = None
    blend: Annotated[
        Literal["mean", "tent"] | None,
        option(
            "mean|tent", "Average overlapping windows all alike, or with less weight towards their edges."
        ),
    ] = None
    prompts: Annotated[
        str | None,
        option(
            "SET",
            "Sentences to put words into: bare, single, imagenet80, openai7, maskclip85, vild14, vild63, …",
        ),
    ] = None
    synonyms: Annotated[
        Literal["max", "mean"] | None, option("max|mean", "Score of a class that has several names.")
    ] = None

    def __post_init__(self) -> None:
        from lexiseg.inference.settings import InferenceSettings

        InferenceSettings(**self.changes())  # says what is wrong before a model is loaded

    def changes(self) -> dict[str, Any]:
        """Give the settings that were named on the command line."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


def load_segmenter(name: str, device: str, changes: Sequence[str] = ()) -> "Segmenter":
    """Load a model and print, once, what must be known before trusting it.

    Args:
        name: What ``--model`` takes.
        device: What ``--device`` takes.
        changes: What ``--set`` was given, ``NAME=VALUE`` each.
    """
    import sys

    from lexiseg.runs.load import load
    from lexiseg.runs.method_settings import parse_changes

    segmenter = load(name, device=device, method_settings=parse_changes(changes))
    if segmenter.notice:
        print(f"note: {segmenter.notice}", file=sys.stderr)
    return segmenter


def read_vocabulary(words: str | None, classes_file: Path | None) -> "Vocabulary":
    """Read the class names from --words or --classes-file.

    Raises:
        InputError: Both or neither is given.
        VocabularyError: They cannot be used.
    """
    from lexiseg.core.vocabulary import Vocabulary

    if (words is None) == (classes_file is None):
        raise InputError(
            doing="reading the class names",
            found="both --words and --classes-file" if words is not None else "no words",
            expected="one of the two",
            fix='Give --words "cat, grass, sky" or --classes-file FILE.',
        )
    if classes_file is not None:
        return Vocabulary.from_file(classes_file)
    assert words is not None
    return Vocabulary.parse(words)
