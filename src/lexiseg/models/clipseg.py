"""CLIPSeg: a small decoder above CLIP that draws a mask of what a sentence says.

Lüddecke, Ecker, "Image Segmentation Using Text and Image Prompts", CVPR 2022. The networks are transformers' classes. The
image is encoded once; a sentence costs three thin layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops import rearrange
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from lexiseg.models.checkpoint import build_model, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import check_end_token, check_vocabulary_size, load_tokenizer

#: Side of the square that the published decoders were trained on.
INPUT_SIDE = 352


class ClipSeg(nn.Module):
    """CLIP's image encoder, and the decoder.

    Args:
        vision: transformers' ``CLIPSegVisionModel``.
        decoder: transformers' ``CLIPSegDecoder``.
        extract_layers: The blocks that the decoder reads, counted from 0.
        normalisation: The checkpoint's pixel statistics.
    """

    def __init__(
        self, vision: Any, decoder: Any, extract_layers: Sequence[int], normalisation: PixelNormalisation
    ) -> None:
        super().__init__()
        self.vision, self.decoder, self.normalisation = vision, decoder, normalisation
        self.extract_layers = tuple(extract_layers)
        self.patch = int(vision.config.patch_size)

    def encode(self, squares: Float[Tensor, "B 3 s s"]) -> tuple[Float[Tensor, "B 1 T D"], ...]:
        """Return what the decoder reads of square RGB images in [0, 1], whose side is a multiple of ``patch``."""
        states = self.vision(self.normalisation(squares), output_hidden_states=True).hidden_states
        return tuple(states[layer + 1][:, None] for layer in self.extract_layers)

    def logits(
        self, levels: Sequence[Float[Tensor, "1 1 T D"]], embeddings: Float[Tensor, "S E"]
    ) -> Float[Tensor, "S s s"]:
        """Draw the masks of sentences on one encoded image, as logits.

        Args:
            levels: From ``encode``.
            embeddings: Of the sentences, as CLIP's projection gives them, not normalised.
        """
        read = [rearrange(level, "1 1 t d -> 1 t d").expand(len(embeddings), -1, -1) for level in levels]
        drawn: Tensor = self.decoder(read, embeddings).logits
        return rearrange(drawn, "... h w -> (...) h w")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedClipSeg:
    """A checkpoint.

    Attributes:
        model: Sees images and draws.
        text: transformers' text model, of CLIP's kind.
        projection: From its width to the embeddings.
        tokenizer: The checkpoint's own.
    """

    model: ClipSeg
    text: nn.Module
    projection: nn.Module
    tokenizer: Tokenizer


def load_clipseg(folder: Path) -> LoadedClipSeg:
    """Load a transformers ``CLIPSegForImageSegmentation`` checkpoint: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("clipseg",))
    config_class = transformers_class("CLIPSegConfig")
    model_class = transformers_class("CLIPSegForImageSegmentation")
    network = build_model(
        folder, lambda: model_class(config_class.from_dict(config)), targets=published_names("clipseg")
    )
    tokenizer, clip = load_tokenizer(folder), network.clip
    check_vocabulary_size(folder, tokenizer, clip.text_model.embeddings.token_embedding.num_embeddings)
    check_end_token(folder, tokenizer, network.config.text_config.eos_token_id)
    model = ClipSeg(
        clip.vision_model, network.decoder, network.config.extract_layers, load_normalisation(folder)
    )
    return LoadedClipSeg(
        model=model.eval(), text=clip.text_model, projection=clip.text_projection, tokenizer=tokenizer
    )
