"""Dense similarity: the score of a word at a patch is the cosine of their embeddings.

The training-free baseline of every other method: an image encoder whose patches live in the space of
a text encoder, and nothing else. How patches of CLIP get there is the head's choice (``ops.dense_heads``, with the papers).

Differences from MaskCLIP's paper: no key smoothing, no prompt denoising; borders are refined by the one
inference path instead, as for all methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.inference.grounds import AskedPixel, Grounds, score_grounds, with_templates
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import embed_names, say_unreadable
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.graph_encoder import GraphEncoder
from lexiseg.ops.similarity import similarity_map


class DenseSimilarity(Segmenter):
    """Score every name at every patch by the cosine of their embeddings, in [-1, 1].

    Args:
        image_encoder: Its tokens lie in the text encoder's space.
        text_encoder: Gives the class embeddings.
        name: What the model was asked for by.
        settings: Inference defaults.
        image_side: Side in pixels of the square images that the image encoder was trained with.
        head: The image encoder's head, for the record; None where it has no choice of them.
    """

    scores_are_products = True
    measure = "cosine"

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        *,
        name: str,
        settings: InferenceSettings,
        image_side: int,
        head: str | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.name = name
        self.settings = settings
        self.image_side = image_side
        self.head = head
        self.applies = () if head is None else (f"head-{head}",)

    @cached_property
    def method_settings(self) -> Mapping[str, Any]:  # type: ignore[override]  # hashed once, when asked for
        """Head, and fingerprints of both encoders: what a result was made with. Costs a fraction of a second."""
        encoder = self.image_encoder
        graph = encoder if isinstance(encoder, GraphEncoder) else None
        return {
            **({} if self.head is None else {"head": self.head}),
            **({} if graph is None else {"engine": graph.engine}),
            "image_encoder": fingerprint(encoder) if graph is None else graph.fingerprint,
            "text_encoder": self.text_encoder.fingerprint,
        }

    @property
    def stride(self) -> int:
        """Pixels per patch."""
        return self.image_encoder.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; the tokens, and a global token, come out with unit length."""
        features = self.image_encoder(images)
        whole = features.global_token
        return replace(
            features,
            tokens=normalize(features.tokens, dim=-1),
            global_token=None if whole is None else normalize(whole, dim=-1),
        )

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed class names as unit vectors, remembered on disk."""
        return embed_names(self.text_encoder, names, prompts)

    def embed_sentences(self, sentences: Sequence[str]) -> Float[Tensor, "T D"]:
        """Embed sentences as they are, as unit vectors; nothing is remembered.

        Raises:
            VocabularyError: A sentence is longer than the text encoder can read.
        """
        say_unreadable(self.text_encoder, sentences)
        return normalize(self.text_encoder(sentences), dim=-1)

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell which words, and which sentences of the winner, a pixel is near to."""
        return with_templates(score_grounds(self, asked), self, self.text_encoder, asked)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Return cosines: unit tokens against unit class embeddings."""
        return similarity_map(features.tokens, embeddings, features.grid)
