"""Options that more than one command takes."""

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
        metavar="NAME|ID|FOLDER",
        help="mini, rim (with --references), a hub id such as openai/clip-vit-base-patch16, or a local checkpoint folder.",
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


@dataclass(frozen=True, kw_only=True)
class RimOptions:
    """What the model rim needs beside its name."""

    references: Annotated[
        Path | None,
        option("BANK", "For rim: reference pictures, from lexiseg references build."),
    ] = None
    proposer: Annotated[
        str | None,
        option(
            "classical|ID|FOLDER",
            "For rim: what cuts pictures into regions; a SAM checkpoint, or no weights.",
        ),
    ] = None
    missing_words: Annotated[
        Literal["refuse", "leave_out"] | None,
        option("refuse|leave_out", "For rim: what to do with words that the bank has no references for."),
    ] = None

    def arguments(self, model: str) -> dict[str, Any]:
        """Give what ``load`` takes for ``rim``; refuse these options for another model."""
        from lexiseg.core.errors import InputError

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if given and model != "rim":
            raise InputError(
                doing=f"loading the model {model}",
                found=f"--{next(iter(given)).replace('_', '-')}, which is for rim",
                expected="--model rim with it",
                fix="Name the model rim, or leave the option out.",
            )
        if "missing_words" in given:
            from lexiseg.methods.rim.settings import RIMSettings

            given["method"] = RIMSettings(missing_words=given.pop("missing_words"))
        return given


def load_segmenter(name: str, device: str, rim: RimOptions | None = None) -> "Segmenter":
    """Load a model and print, once, what must be known before trusting it."""
    import sys

    from lexiseg.runs.load import load

    segmenter = load(name, device=device, **(rim.arguments(name) if rim else {}))
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
