"""``lexiseg train``: train a model by a recipe into a run folder."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lexiseg.cli.options import Licence, option, refuse_networks

if TYPE_CHECKING:
    from lexiseg.recipes.base import Recipe

#: Exit code after Ctrl-C, that of cli.main too.
INTERRUPTED = 130

#: A longer run has to be asked for.
MOST_HOURS = 24.0
LONG = "Train also where that takes more than a day on this machine."

_USAGE = """usage: lexiseg train RECIPE --out RUN [--resume] [--quiet] [--long] [SETTINGS]

Train a model by a recipe into a run folder.

  lexiseg train simseg/scenes --out run --optim.lr 1e-4
  lexiseg segment photo.jpg --words "cat, grass, sky" --model run

The same command with --resume goes on where a run stopped. For several devices:
  torchrun --nproc-per-node 2 -m lexiseg train simseg/scenes --out run

recipes:
{recipes}
  package.module:function   your own: a function that gives a lexiseg.recipes.base.Recipe

lexiseg train RECIPE --help lists the recipe's settings."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model by a recipe into a run folder."""

    name: str | None
    options: Any = None

    @classmethod
    def from_arguments(cls, arguments: Sequence[str], *, program: str = "lexiseg train") -> "Train":
        """Read the command line: the recipe named first decides which settings there are."""
        if not arguments or arguments[0] in ("-h", "--help"):
            return cls(name=None)
        from lexiseg.recipes.base import find_recipe
        from lexiseg.runs.renamed_settings import refuse_old_flags

        name = arguments[0]
        refuse_old_flags(arguments[1:])
        options = _options_of(find_recipe(name))
        return cls(name=name, options=tyro.cli(options, prog=f"{program} {name}", args=list(arguments[1:])))

    def run(self) -> int:
        """Train; return the exit code."""
        if self.name is None:
            print(_usage())
            return 0
        from lexiseg.core.errors import TrainingStopped
        from lexiseg.engine.devices import close_devices
        from lexiseg.runs.train import train_recipe

        given = self.options
        refuse_networks(self.name, given.licence, given.settings)
        try:
            model = train_recipe(
                self.name,
                recipe=given.settings,
                out=given.out,
                resume=given.resume,
                quiet=given.quiet,
                most_hours=None if given.long else MOST_HOURS,
            )
        except TrainingStopped:
            close_devices()
            raise
        except KeyboardInterrupt:
            # Another sentence than that of other commands, which go on without being asked to.
            print(f"\nStopped. {_whence(given.out)}", file=sys.stderr)
            return INTERRUPTED
        close_devices()
        if not given.quiet and os.environ.get("RANK", "0") == "0":
            say_farewell(model, given.out, given.settings)
        return 0


def say_farewell(model: object, run: Path, recipe: "Recipe") -> None:
    """Print the validation score of a run, where its model is, and what to do next."""
    from lexiseg.core.terminal import plain_text
    from lexiseg.runs.after_training import draw_curves, farewell, last_scores, words_of

    source = getattr(recipe, "data", None)
    data = getattr(source, "path", None) if getattr(source, "dataset", None) == "folder" else None
    print(plain_text(farewell(run, scores=last_scores(run), words=words_of(model), data=data)))
    print(plain_text(f"curves:     {draw_curves(run)}"))


def _whence(run: Path) -> str:
    """Say how to go on with a run that was stopped, and from where."""
    from lexiseg.engine.checkpoint import checkpoint_steps

    steps = checkpoint_steps(run)
    place = f"step {steps[-1]}, the last checkpoint" if steps else "the start: there is no checkpoint yet"
    return f"The same command with --resume goes on from {place}."


def _options_of(recipe: "Recipe") -> type:
    """Make the options of a recipe: those of the command, and every setting as a flag without prefix."""
    kind = type(recipe)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("out", Annotated[Path, tyro.conf.arg(metavar="RUN", help="The run's folder.")]),
        ("resume", Annotated[bool, option("", "Go on with the run in that folder.")], False),
        ("quiet", Annotated[bool, option("", "Show no progress.")], False),
        ("long", Annotated[bool, option("", LONG)], False),
        ("licence", Licence, "any"),
        # A part that may be None has flags like any other where the recipe has it.
        ("settings", Annotated[kind, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands], recipe),
    ]
    made = make_dataclass("TrainOptions", fields, frozen=True, kw_only=True)
    made.__doc__ = kind.__doc__
    return made


def _usage() -> str:
    from lexiseg.recipes.base import TRAINING_RECIPES

    width = max(map(len, TRAINING_RECIPES), default=0)
    lines = [f"  {name:<{width}}   {summary}" for name, (_, summary) in sorted(TRAINING_RECIPES.items())]
    return _USAGE.format(recipes="\n".join(lines))
