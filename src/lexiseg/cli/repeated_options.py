"""Options that are given twice: parsers keep the last one in silence, so half of what was asked for is lost."""

from collections import Counter
from collections.abc import Sequence

from lexiseg.core.errors import InputError

#: Options that may be given several times.
_REPEATABLE = frozenset({"--set", "--point", "--allow-host"})


def refuse_repeated(arguments: Sequence[str]) -> None:
    """Refuse an option that stands twice on the command line.

    Raises:
        InputError: It does.
    """
    before_end = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    names = [word.partition("=")[0].replace("_", "-") for word in before_end if word.startswith("--")]
    twice = [name for name, count in Counter(names).items() if count > 1 and name not in _REPEATABLE]
    if twice:
        raise InputError(
            doing="reading the options",
            found=f"{twice[0]} {Counter(names)[twice[0]]} times",
            expected="every option once (--set, --point and --allow-host may come several times)",
            fix='Give it once; several words go into one list: --words "cat, grass, sky".',
        )
