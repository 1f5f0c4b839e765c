"""DINO, and any plain vision transformer of transformers: patch features from images alone.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021; the network is that of
Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. It knows no words: a region is compared with other
images. The tokens are the last block's, after the last layer norm.

Differences from transformers: the normalisation is inside, images of any size that is a multiple of the patch are
read (its own resizing of the position table), and files are read in the names of either layout.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.models.checkpoint import build_model, fingerprint, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names


class DinoImageEncoder(ImageEncoder):
    """A plain vision transformer: one token a patch, not normalised. The global token is the CLS token.

    Args:
        vision: transformers' ``ViTModel``, without its pooler.
        normalisation: The checkpoint's pixel statistics.
        features: What a patch's token is: the last block's output after the last layer norm (``tokens``), or the sum of
            its query and key in the last block, before heads are split (``query_key``).
    """

    def __init__(
        self,
        vision: Any,
        normalisation: PixelNormalisation,
        *,
        features: Literal["tokens", "query_key"] = "tokens",
    ) -> None:
        super().__init__()
        self.features = features
        self.vision = vision
        self.normalisation = normalisation
        self.stride = int(vision.config.patch_size)

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the weights and the normalisation. Do not change the weights after asking."""
        return fingerprint(self, "dino" if self.features == "tokens" else f"dino {self.features}")

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        attention, kept = self.vision.layers[-1].attention, []
        hooks = [
            part.register_forward_hook(lambda _, __, output: kept.append(output))
            for part in ((attention.q_proj, attention.k_proj) if self.features == "query_key" else ())
        ]
        try:
            tokens = self.vision(self.normalisation(images), interpolate_pos_encoding=True).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return PatchFeatures(
            tokens=(kept[0] + kept[1] if kept else tokens)[:, 1:],
            grid=(images.shape[2] // self.stride, images.shape[3] // self.stride),
            stride=self.stride,
            global_token=tokens[:, 0],
        )


def load_dino(folder: Path, *, features: Literal["tokens", "query_key"] = "tokens") -> DinoImageEncoder:
    """Load a transformers ``ViTModel`` checkpoint, with or without pooler or classifier: a folder in hub layout.

    Args:
        folder: From ``models.hub.resolve_checkpoint``.
        features: See ``DinoImageEncoder``.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("vit",))
    config_class, model_class = transformers_class("ViTConfig"), transformers_class("ViTModel")
    model = build_model(
        folder,
        lambda: model_class(config_class.from_dict(config), add_pooling_layer=False),
        targets=published_names("vit"),
    )
    return DinoImageEncoder(model, load_normalisation(folder), features=features).eval()


def build_dino(config: Mapping[str, Any]) -> DinoImageEncoder:
    """Build a plain vision transformer without weights, from the fields of a ``ViTConfig``."""
    settings = transformers_class("ViTConfig").from_dict(dict(config))
    nothing = PixelNormalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return DinoImageEncoder(transformers_class("ViTModel")(settings, add_pooling_layer=False), nothing)
