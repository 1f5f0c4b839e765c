"""What to know before building references: the work of generating them, how two vocabularies compare."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import Device, ModelName, option
from lexiseg.core.errors import InputError

if TYPE_CHECKING:
    from lexiseg.core.vocabulary import Vocabulary

#: Classes listed by ``similarity``, the worst covered first.
_SHOWN = 10


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


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Tell how well one list of classes covers another, by text embeddings.

    The paper's table gives one number, by CLIP ViT-L/14, without its formula; directed is our reading of it.
    """

    evaluated: Annotated[Path, tyro.conf.arg(metavar="FILE", help="Classes that will be asked for.")]
    training: Annotated[Path, tyro.conf.arg(metavar="FILE", help="Classes that are known.")]
    model: ModelName = "mini"
    prompts: Annotated[str, tyro.conf.arg(metavar="SET", help="Sentences to put names into.")] = "bare"
    device: Device = "cpu"

    def run(self) -> int:
        """Print; give the exit code."""
        from lexiseg.core.vocabulary import Vocabulary
        from lexiseg.inference.text_embeddings import embed_names
        from lexiseg.ops.vocabulary_similarity import vocabulary_similarity
        from lexiseg.recipes import load

        encoder = getattr(load(self.model, device=self.device), "text_encoder", None)
        if encoder is None:
            raise InputError(
                doing="comparing two vocabularies",
                found=f"the model {self.model}, which reads no text",
                expected="a model with a text encoder",
                fix="Use mini, or a CLIP checkpoint such as openai/clip-vit-large-patch14.",
            )
        asked, known = Vocabulary.from_file(self.evaluated), Vocabulary.from_file(self.training)
        found = vocabulary_similarity(
            embed_names(encoder, asked.names, self.prompts), embed_names(encoder, known.names, self.prompts)
        )
        print(
            f"directed {found.directed:.3f}  reverse {found.reverse:.3f}  symmetric {found.symmetric:.3f}  "
            f"mean {found.mean:.3f}"
        )
        for place in found.nearest_similarity.argsort()[:_SHOWN].tolist():
            nearest = known.names[int(found.nearest[place])]
            print(f"  {float(found.nearest_similarity[place]):.3f}  {asked.names[place]} → {nearest}")
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
