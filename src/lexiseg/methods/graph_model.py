"""A graph file as a model: the network is run by its engine, everything else is the one path of all models.

The graph says of itself which model it was written from, with which settings, and what its parts are. Where class
embeddings are its input, words are embedded by the text side of that model, which is loaded when the first word is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import spelling_key
from lexiseg.inference.closed_vocabulary import ClosedVocabularySegmenter
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.graph_encoder import GraphEncoder
from lexiseg.ops.similarity import similarity_map


class GraphModel(Segmenter):
    """A graph with class embeddings as its input: any words.

    Args:
        graph: Of the network.
        name: What it was asked for by.
        settings: Inference defaults.
        method: Settings of the method that it was written from, for the record.
        written_from: The model that it was written from, whose words it is asked with.
        open_words: Loads that model.
    """

    scores_are_products = True

    def __init__(
        self,
        graph: GraphEncoder,
        *,
        name: str,
        settings: InferenceSettings,
        method: Mapping[str, Any],
        written_from: str,
        open_words: Callable[[str], Segmenter],
    ) -> None:
        super().__init__()
        self.graph, self.name, self.settings = graph, name, settings
        self.method_settings = {**method, "engine": graph.engine}
        self._written_from, self._open_words = written_from, open_words
        self._words: tuple[Segmenter, ...] = ()  # a tuple: its weights are none of this model's

    @property
    def stride(self) -> int:
        """Pixels per position of the graph's scores."""
        return self.graph.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return the tokens that the graph gives."""
        return self.graph(images)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed names by the model that the graph was written from.

        Raises:
            CheckpointError: That model has other weights now.
        """
        if not self._words:
            model = self._open_words(self._written_from)
            if fingerprint(model) != self.graph.fingerprint:
                raise CheckpointError(
                    doing=f"embedding names for {self.name}",
                    found=f"{self._written_from} with other weights than the graph's",
                    expected="the model that the graph was written from: its texts and the graph's images share a space",
                    fix="Write the graph again with lexiseg export-model, or bake the names in with --names.",
                )
            self._words = (model,)
        return self._words[0].embed_texts(names, prompts)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Return the products of tokens and class embeddings."""
        return similarity_map(features.tokens, embeddings, features.grid)


class BakedGraphModel(ClosedVocabularySegmenter):
    """A graph with its names in it: those, and no others.

    Args:
        graph: Of the network.
        name: What it was asked for by.
        settings: Inference defaults.
        method: Settings of the method that it was written from, for the record.
        vocabulary: Its classes.
        names: Name of each of the graph's scores: the classes' names and synonyms.
    """

    scores_are_products = True

    def __init__(
        self,
        graph: GraphEncoder,
        *,
        name: str,
        settings: InferenceSettings,
        method: Mapping[str, Any],
        vocabulary: Vocabulary,
        names: Sequence[str],
    ) -> None:
        super().__init__()
        self.graph, self.name, self.settings, self.vocabulary = graph, name, settings, vocabulary
        self.method_settings = {**method, "engine": graph.engine}
        self._num_names = len(names)
        self._columns = {spelling_key(each): column for column, each in enumerate(names)}

    @property
    def stride(self) -> int:
        """Pixels per position of the graph's scores."""
        return self.graph.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return the scores of all names at every position, ``B N S``.

        Raises:
            CheckpointError: The graph scores another number of names.
        """
        features = self.graph(images)
        if features.tokens.shape[2] != self._num_names:
            raise CheckpointError(
                doing=f"segmenting with {self.name}",
                found=f"scores of {features.tokens.shape[2]} names",
                expected=f"as many as the file says that it has: {self._num_names}",
                fix="Write it again with lexiseg export-model.",
            )
        return features

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S K"]:
        """Assign each name its own score: a row with a single 1; zeros for a synonym that the graph does not have."""
        embeddings = torch.zeros(len(names), self._num_names)
        for row, name in enumerate(names):
            if (column := self._columns.get(spelling_key(name))) is not None:
                embeddings[row, column] = 1
        return embeddings


def refuse_unlike_graph(model: Segmenter, name: str) -> None:
    """Refuse a model whose labels are more than tokens times class embeddings.

    Raises:
        InputError: They are.
    """
    if model.scores_are_products and not isinstance(model, GraphModel | BakedGraphModel):
        return
    raise InputError(
        doing=f"writing {name} as a graph",
        found="a model that decides by more than tokens and class embeddings, or a graph already",
        expected="a CLIP or SigLIP with a head of its own, a run of CLIP-to-Seg or lexiseg distil, a head of lexiseg fit "
        "--prior none, "
        "or a SegFormer, DPT or UperNet",
        fix="Choose one, such as openai/clip-vit-base-patch16 with --set head=naclip; in the place of mini, and of a head with "
        "its prior, a head of lexiseg fit --prior none or a student of lexiseg distil --teacher mini.",
    )
