"""Options that more than one command takes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    from lexiseg.core.vocabulary import Vocabulary
    from lexiseg.inference.segmenter import Segmenter
    from lexiseg.runs.licences import LicenceLimit


def option(metavar: str, text: str) -> Any:
    """Describe an option that may be left out: its value's name, and a sentence."""
    return tyro.conf.arg(metavar=metavar, help=text, help_behavior_hint="")


ModelName = Annotated[
    str,
    tyro.conf.arg(
        metavar="MODEL",
        help="mini, a bank of reference images, the folder of a run, the hub id or local folder of a checkpoint "
        "such as openai/clip-vit-large-patch14, or package.module:function, which builds your own.",
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
Trust = Annotated[
    bool,
    tyro.conf.arg(
        help="Run the code that a run's folder names (a recipe package.module:function), if it comes from someone you trust.",
        help_behavior_hint="",
    ),
    tyro.conf.FlagCreatePairsOff,
]
Licence = Annotated[
    Literal["any", "commercial", "permissive"],
    option(
        "KIND",
        "Refuse a model with a part under another kind of licence: permissive asks for no more than a notice, commercial also "
        "allows licences with conditions; any does not look. lexiseg licences MODEL lists the parts.",
    ),
]
ValueRangeText = Annotated[
    str | None,
    option(
        "LOW..HIGH|percentile",
        "Black and white of 16- and 32-bit grey images, such as 0..4095 for 12 bits; percentile takes each image's "
        "1st and 99th. All of 16 bits if left out.",
    ),
]
Bands = Annotated[
    str | None,
    option(
        "1,2,3",
        "Bands of a TIFF that are red, green and blue, or one for grey, counted from 1; needs the extra geo. Those that the "
        "file calls so if left out.",
    ),
]
Device = Annotated[
    str,
    tyro.conf.arg(metavar="DEVICE", help="cpu, cuda, cuda:1, …; auto takes a GPU when there is one."),
]

ClassesFile = Annotated[
    Path | None, option("FILE", "Class names one a line, synonyms after a tab; instead of --words.")
]


def load_segmenter(
    name: str,
    device: str,
    changes: Sequence[str] = (),
    *,
    trust: bool = False,
    licence: "LicenceLimit" = "any",
) -> "Segmenter":
    """Load a model and print, once, what must be known before trusting it.

    Args:
        name: What ``--model`` takes.
        device: What ``--device`` takes.
        changes: What ``--set`` was given, ``NAME=VALUE`` each.
        trust: What ``--trust`` says.
        licence: What ``--licence`` says; a model that is refused is not loaded.
    """
    import sys

    from lexiseg.runs.load import load
    from lexiseg.runs.method_settings import parse_changes

    if licence != "any":
        from lexiseg.runs.licences import list_parts, refuse_other_licences

        refuse_other_licences(name, list_parts(name, parse_changes(changes), trust=trust), licence)
    segmenter = load(name, device=device, method_settings=parse_changes(changes), trust=trust)
    if segmenter.notice and _is_news(segmenter.notice):
        print(f"note: {segmenter.notice} (This is said once.)", file=sys.stderr)
    return segmenter


def refuse_networks(name: str, licence: "LicenceLimit", *named: Any) -> None:
    """Refuse, before anything is loaded, what reads networks of which one is under another kind of licence.

    Args:
        name: What reads them, for the message.
        licence: What ``--licence`` says.
        named: Settings that name networks, or names of networks.

    Raises:
        InputError: There is one.
    """
    if licence != "any":
        from lexiseg.runs.licences import list_networks, refuse_other_licences

        refuse_other_licences(name, list_networks(*named), licence)


def _is_news(notice: str) -> bool:
    """Return whether a notice was not printed here before, and remember that it is now."""
    from lexiseg.core.cache_folder import default_cache

    try:
        place = default_cache() / "notices" / hashlib.sha256(notice.encode()).hexdigest()[:16]
        if place.exists():
            return False
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    except (OSError, RuntimeError):
        pass  # nowhere to remember it: it is said again
    return True


def read_words_if_given(words: str | None, classes_file: Path | None) -> "Vocabulary | None":
    """Read the class names as ``read_vocabulary`` does; None where there are none, for models with classes of their own."""
    return None if words is None and classes_file is None else read_vocabulary(words, classes_file)


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
