"""``similarity``: how well one vocabulary covers another, by a model's text embeddings."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import Device, Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.core.errors import InputError
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from lexiseg.core.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Compare an evaluation vocabulary with a training vocabulary (Table 2 of RIM, after SAN).

    Published values use CLIP ViT-L/14; the form and the sentence are not stated, so all forms are
    printed, with the bare name and with "a photo of a …".
    """

    evaluation: tyro.conf.Positional[
        Annotated[str, option("LIST|FILE", "A class list of this package such as voc20, or a classes file.")]
    ]
    training: tyro.conf.Positional[Annotated[str, option("LIST|FILE", "The other one.")]]
    model: ModelName = "openai/clip-vit-large-patch14"
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"

    def run(self) -> int:
        """Compare and print; return the exit code."""
        from rich.table import Table

        from lexiseg.metrics.label_set_similarity import label_set_similarity

        evaluation, training = _vocabulary(self.evaluation), _vocabulary(self.training)
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        table = Table(title=f"{self.evaluation} covered by {self.training}", highlight=False)
        for heading in (
            "prompts",
            "directed",
            "reverse",
            "symmetric",
            "mean",
            "reverse mean",
            "worst covered",
        ):
            table.add_column(heading)
        for prompts in ("bare", "single"):
            embeddings = [
                segmenter.embed_texts(vocabulary.names, prompts).float().cpu().numpy()
                for vocabulary in (evaluation, training)
            ]
            found = label_set_similarity(embeddings[0], embeddings[1])
            forms = (found.directed, found.reverse, found.symmetric, found.mean, found.reverse_mean)
            worst = f"{evaluation.names[found.worst]} (nearest: {training.names[found.nearest]})"
            table.add_row(prompts, *(f"{value:.3f}" for value in forms), worst)
        open_console().print(table)
        return 0


def _vocabulary(name: str) -> "Vocabulary":
    from lexiseg.core.vocabulary import Vocabulary
    from lexiseg.data.class_lists import packaged_names, packaged_vocabulary

    if Path(name).is_file():
        return Vocabulary.from_file(Path(name))
    if name in packaged_names():
        return packaged_vocabulary(name)
    raise InputError(
        doing=f"looking up the vocabulary {name!r}",
        found="neither a file nor a class list of this package",
        expected=f"a classes file, or one of: {', '.join(packaged_names())}",
        fix="Give the path of a file with one class name a line.",
    )
