"""ClassDecoder: means of a student's features become class embeddings, looking at a teacher's image vectors."""

from jaxtyping import Float
from torch import Tensor, nn


class ClassDecoder(nn.Module):
    """A small transformer decoder: classes among themselves, then classes to image vectors.

    Args:
        dimensions: Of prototypes, image vectors and embeddings.
        width: Of the decoder.
        num_heads: Divides ``width``.
        num_layers: One or more.
    """

    def __init__(self, dimensions: int, *, width: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.queries = nn.Linear(dimensions, width)
        self.memory = nn.Linear(dimensions, width)
        layer = nn.TransformerDecoderLayer(
            width, num_heads, dim_feedforward=2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, num_layers, nn.LayerNorm(width))
        self.out = nn.Linear(width, dimensions)

    def forward(
        self, prototypes: Float[Tensor, "P D"], vectors: Float[Tensor, "V D"]
    ) -> Float[Tensor, "P D"]:
        """Return an embedding a prototype, not normalised.

        Args:
            prototypes: One a class, in any order.
            vectors: Of images; one or more.
        """
        decoded = self.layers(self.queries(prototypes)[None], self.memory(vectors)[None])
        return self.out(decoded)[0]
