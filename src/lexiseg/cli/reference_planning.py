"""What to know before building references: the work of generating them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import option
from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    from lexiseg.core.vocabulary import Vocabulary


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


def read_vocabulary(words: str | None, classes_file: Path | None) -> "Vocabulary":
    """Read the classes from one of the two options.

    Raises:
        InputError: Both or neither is given.
        VocabularyError: They cannot be used.
    """
    from lexiseg.core.vocabulary import Vocabulary

    if (words is None) == (classes_file is None):
        raise InputError(
            doing="reading the options",
            found="neither --words nor --classes-file"
            if words is None
            else "both --words and --classes-file",
            expected="one of the two",
            fix='Give the classes: --words "cat, dog", or --classes-file FILE.',
        )
    return Vocabulary.parse(words or "") if classes_file is None else Vocabulary.from_file(classes_file)
