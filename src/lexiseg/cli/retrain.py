"""``lexiseg retrain``: train, write pseudo masks for classes with tags only, train again on them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lexiseg.cli.options import refuse_networks
from lexiseg.cli.train import MOST_HOURS, Train, say_farewell

_USAGE = """usage: lexiseg retrain RECIPE --out RUN [--resume] [--quiet] [--long] [SETTINGS]

Train a SimFormer, let it draw masks for the classes that images have tags for, and train anew on them.
The model is RUN/second. Recipes and settings are those of lexiseg train, for example:

  lexiseg retrain simformer/scenes --out run
  lexiseg evaluate run/second --data mydata"""


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Train twice: with tags, then on the pseudo masks of the first model."""

    name: str | None
    options: Any = None

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> "Retrain":
        """Read the command line, which is that of ``lexiseg train``."""
        read = Train.from_arguments(arguments, program="lexiseg retrain")
        return cls(name=read.name, options=read.options)

    def run(self) -> int:
        """Train twice; return the exit code."""
        if self.name is None:
            print(_USAGE)
            return 0
        from lexiseg.engine.devices import close_devices
        from lexiseg.runs.retrain import retrain
        from lexiseg.runs.retraining_folder import SECOND

        given = self.options
        refuse_networks(self.name, given.licence, given.settings)
        model = retrain(
            self.name,
            recipe=given.settings,
            out=given.out,
            resume=given.resume,
            quiet=given.quiet,
            most_hours=None if given.long else MOST_HOURS,
        )
        close_devices()
        if not given.quiet and os.environ.get("RANK", "0") == "0":
            say_farewell(model, given.out / SECOND, given.settings)
        return 0
