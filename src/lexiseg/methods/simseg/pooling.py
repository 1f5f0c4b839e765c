"""LoDA: the vector of an image or a sentence from a few local responses."""

from jaxtyping import Bool, Float
from torch import Tensor

from lexiseg.methods.simseg.settings import PoolingSettings
from lexiseg.ops.topk_pool import token_mean, topk_mean

#: Added to the length that a vector is divided by.
_NORM_EPS = 1e-8


def pool_image(
    patches: Float[Tensor, "B N D"], start: Float[Tensor, "B D"], settings: PoolingSettings
) -> Float[Tensor, "B D"]:
    """Pool the projected patches of each image, then normalise; ``start`` is the class token, for ``cls``."""
    if settings.pooling == "topk":
        return unit(topk_mean(patches, settings.image_responses))
    return unit(token_mean(patches) if settings.pooling == "mean" else start)


def pool_text(
    tokens: Float[Tensor, "B L D"], own: Bool[Tensor, "B L"], settings: PoolingSettings
) -> Float[Tensor, "B D"]:
    """Pool the projected tokens of each sentence, its start and end among them, then normalise.

    Args:
        tokens: One row a token.
        own: Which tokens are the sentence's own and not filling.
        settings: The mean never counts fillings, whatever ``padding`` says: published code does not either.
    """
    if settings.pooling == "topk":
        keep = own if settings.padding == "masked" else None
        return unit(topk_mean(tokens, settings.text_responses, keep))
    return unit(token_mean(tokens.float(), own) if settings.pooling == "mean" else tokens[:, 0])


def unit(vectors: Float[Tensor, "*b D"]) -> Float[Tensor, "*b D"]:
    """Divide by the length, in float32 at least."""
    vectors = vectors if vectors.dtype.itemsize > 2 else vectors.float()
    return vectors / (vectors.norm(dim=-1, keepdim=True) + _NORM_EPS)
