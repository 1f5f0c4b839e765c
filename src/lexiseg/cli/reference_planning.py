"""What to know before building references: the work of generating them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.options import option, read_vocabulary


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Count the pictures and denoising steps it takes to generate references, before anyone starts."""

    words: Annotated[str | None, option("WORDS", "Class names separated by commas.")] = None
    classes_file: Annotated[Path | None, option("FILE", "Class names one a line; instead of --words.")] = None
    pictures: Annotated[int, tyro.conf.arg(metavar="K", help="Pictures a class.")] = 50
    steps: Annotated[int, tyro.conf.arg(metavar="STEPS", help="Denoising steps a picture.")] = 50

    def run(self) -> int:
        """Print; give the exit code."""
        from lexiseg.ops.generation_cost import generation_cost

        vocabulary = read_vocabulary(self.words, self.classes_file)
        cost = generation_cost(
            len(vocabulary), pictures_per_class=self.pictures, steps_per_picture=self.steps
        )
        print(
            f"{len(vocabulary):,} classes: {cost.pictures:,} pictures, {cost.steps:,} denoising steps, "
            f"{cost.passes:,} passes with guidance"
        )
        return 0
