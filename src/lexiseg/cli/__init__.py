"""The command line. Each command is a dataclass of its options with a ``run``.

Nothing here imports torch at the top: ``lexiseg --help`` answers at once.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from lexiseg.cli.datasets import Datasets
from lexiseg.cli.doctor import Doctor
from lexiseg.cli.evaluate import Evaluate
from lexiseg.cli.models import Models
from lexiseg.cli.references import References
from lexiseg.cli.segment import Segment
from lexiseg.core.errors import LexisegError

COMMANDS: dict[str, Callable[..., Any]] = {
    "segment": Segment,
    "evaluate": Evaluate,
    "references": References,
    "datasets": Datasets,
    "models": Models,
    "doctor": Doctor,
}

INTERRUPTED = 130
CANNOT_RUN = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exits with 0 when everything worked, 1 when some pictures failed or a check did, 2 when the
    command cannot run as given, 130 when stopped by Ctrl-C.
    """
    # Threads that wait by sleeping: where cores are shared, spinning ones make two threads ten times
    # slower than one. OpenMP reads this when torch is first imported, which is after this line.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if "--version" in arguments:
        from importlib.metadata import version

        print(f"lexiseg {version('lexiseg')}")
        return
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="lexiseg",
        description="Segment photographs by words, with whatever labels you have.\n\n"
        'lexiseg segment photo.jpg --words "cat, grass, sky"',
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    try:
        code = command.run()
    except LexisegError as error:
        _explain(error)
        code = CANNOT_RUN
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        code = INTERRUPTED
    raise SystemExit(code)


def _explain(error: LexisegError) -> None:
    """Print the four parts of a message on lines of their own."""
    print(f"error: {error.doing}", file=sys.stderr)
    print(f"  found     {error.found}", file=sys.stderr)
    print(f"  expected  {error.expected}", file=sys.stderr)
    print(f"  to do     {error.fix}", file=sys.stderr)
