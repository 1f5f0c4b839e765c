"""Options of earlier versions: refused before anything is read, with the new spelling."""

from collections.abc import Sequence

from lexiseg.core.errors import InputError

#: Commands whose model is an option; it comes first in the others.
_MODEL_IS_OPTION = ("segment",)

#: Option, of one command or of any, to what it is now; ``{value}`` is what was given, ``{model}`` how the command takes
#: a model.
RETIRED_OPTIONS = {
    "--references": (
        "a bank given as the model itself, as a run or a checkpoint is",
        "Write {model}, without --references.",
    ),
    "--proposer": (
        "a setting of the method, changed by --set as all settings of methods are",
        "Write --set proposer={value}.",
    ),
    "--pictures": ("images, as everywhere", "Write --images {value}."),
    "curate --ray": (
        "an address: the workers of Ray are asked for by --ray-address alone",
        "Write --ray-address local for this machine.",
    ),
    "score --picture": ("--plot, for it draws bars and confusions", "Write --plot {value}."),
    "captions --picture": ("images, as everywhere", "Write --image {value}."),
    "--missing-words": (
        "a setting of the method, changed by --set as all settings of methods are",
        "Write --set missing_words={value}.",
    ),
}


def refuse_retired(command: str, arguments: Sequence[str]) -> None:
    """Refuse an option of an earlier version.

    Args:
        command: The command's name.
        arguments: What follows it.

    Raises:
        InputError: There is one; the message says what to write instead.
    """
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        option = option.replace("_", "-")
        known = next((key for key in (f"{command} {option}", option) if key in RETIRED_OPTIONS), None)
        if known is None:
            continue
        if not equals:
            value = arguments[place + 1] if place + 1 < len(arguments) else "VALUE"
        model = f"--model {value}" if command in _MODEL_IS_OPTION else f"lexiseg {command} {value} …"
        expected, fix = RETIRED_OPTIONS[known]
        raise InputError(
            doing=f"reading the options of lexiseg {command}",
            found=f"{option} {value}, an option of an earlier version",
            expected=expected,
            fix=fix.format(value=value, model=model),
        )
