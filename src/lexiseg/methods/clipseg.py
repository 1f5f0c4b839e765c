"""CLIPSeg as a segmenter: the logit of every name at every pixel, the best name wins.

Lüddecke, Ecker, "Image Segmentation Using Text and Image Prompts", CVPR 2022. It was trained to find one phrase at a time;
that names compete is ours, and their scores have no common scale. A logit of 0 is a probability of one half.
"""

from collections.abc import Sequence

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import TextEncoder
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.clipseg import ClipSeg
from lexiseg.ops.prompts import fill, find_prompt_set

#: Sentences in one pass of the text encoder, and names in one of the decoder.
_AT_ONCE = 64


class ClipSegSegmenter(Segmenter):
    """Logits on a grid of pixels.

    The image, or each window, is squashed to the decoder's square, whatever its shape, and encoded once.

    Args:
        model: The network.
        text_encoder: Embeds sentences.
        side: Of the square, in pixels.
        settings: Inference defaults.
        name: What the model was asked for by.
    """

    stride = 1
    measure = "logit"

    def __init__(
        self,
        model: ClipSeg,
        text_encoder: TextEncoder,
        *,
        side: int,
        settings: InferenceSettings,
        name: str,
    ) -> None:
        super().__init__()
        self.model, self.text_encoder, self.side = model, text_encoder, side
        self.settings, self.name = settings, name
        self.method_settings = {
            "side": side,
            "weights": fingerprint(model),
            "text_encoder": text_encoder.fingerprint,
        }

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1] once for all names: ``levels`` is what names are drawn on, tokens are empty."""
        square = (self.side, self.side)
        if images.shape[2:] != square:
            seen = interpolate(images, size=square, mode="bilinear", antialias=True, align_corners=False)
        else:
            seen = images
        grid = (images.shape[2], images.shape[3])
        tokens = images.new_zeros(len(images), grid[0] * grid[1], 0)
        return PatchFeatures(tokens=tokens, grid=grid, stride=1, levels=self.model.encode(seen))

    @torch.inference_mode()
    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed class names: the mean over templates, not normalised, as the decoder was trained."""
        prompt_set = find_prompt_set(prompts)
        count = len(prompt_set.templates)
        texts = [text for name in names for text in fill(prompt_set, name)]
        found = [self.text_encoder(texts[at : at + _AT_ONCE]) for at in range(0, len(texts), _AT_ONCE)]
        return reduce(torch.cat(found), "(names templates) d -> names d", "mean", templates=count)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Draw every name, as logits."""
        assert features.levels is not None
        found = []
        for one in range(len(features.tokens)):
            levels = [level[one : one + 1] for level in features.levels]
            drawn = [
                self._draw(levels, embeddings[at : at + _AT_ONCE], features.grid)
                for at in range(0, len(embeddings), _AT_ONCE)
            ]
            found.append(torch.cat(drawn))
        return torch.stack(found)

    def _draw(
        self, levels: Sequence[Tensor], embeddings: Float[Tensor, "S D"], grid: tuple[int, int]
    ) -> Float[Tensor, "S h w"]:
        logits = self.model.logits(levels, embeddings)[:, None]
        if logits.shape[2:] != grid:
            logits = interpolate(logits, size=grid, mode="bilinear", align_corners=False)
        return logits[:, 0]
