"""DINOv2: patch features from images alone, with or without registers.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Darcet et al.,
"Vision Transformers Need Registers", ICLR 2024. It knows no words: a region is compared with other
images. The tokens are the last block's, after the last layer norm.

Differences from transformers: the normalisation is inside, the registers are left out of the tokens, and
checkpoints are read in the names of either layout, also the one the hub has.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.models.checkpoint import build_model, fingerprint, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names

Precision = Literal["float32", "bfloat16"]


class Dinov2ImageEncoder(ImageEncoder):
    """DINOv2's vision transformer: one token a patch, not normalised. The global token is the class token.

    Args:
        vision: transformers' ``Dinov2Model`` or ``Dinov2WithRegistersModel``.
        normalisation: The checkpoint's pixel statistics.
        precision: ``bfloat16`` computes matrix products in half the bits: faster where the processor has instructions
            for it (``benchmarks/speed/dinov2.json``), with tokens that differ by less than 1 % of their length.
    """

    def __init__(
        self, vision: Any, normalisation: PixelNormalisation, *, precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self.precision = precision
        self.vision = vision
        self.normalisation = normalisation
        self.stride = int(vision.config.patch_size)
        self.num_registers = int(getattr(vision.config, "num_register_tokens", 0))

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the weights and the normalisation. Do not change the weights after asking."""
        rounded = "" if self.precision == "float32" else f" {self.precision}"
        return fingerprint(self, f"dinov2 {self.num_registers}{rounded}")

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        pixels = self.normalisation(images)
        if self.precision == "float32":
            tokens = self.vision(pixels).last_hidden_state
        else:
            with torch.autocast(images.device.type, torch.bfloat16):
                tokens = self.vision(pixels).last_hidden_state.float()
        return PatchFeatures(
            tokens=tokens[:, 1 + self.num_registers :],
            grid=(images.shape[2] // self.stride, images.shape[3] // self.stride),
            stride=self.stride,
            global_token=tokens[:, 0],
        )


def load_dinov2(
    folder: Path, *, num_layers: int | None = None, precision: Precision = "float32"
) -> Dinov2ImageEncoder:
    """Load any transformers DINOv2 checkpoint, with or without registers: a folder in hub layout.

    Args:
        folder: From ``models.hub.resolve_checkpoint``, which knows ``dinov2-small`` too.
        num_layers: Stop after so many blocks, and take their tokens through the last layer norm, as the
            paper's evaluations take intermediate layers; None for all.
        precision: See ``Dinov2ImageEncoder``.

    Raises:
        InputError: The network has fewer blocks.
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("dinov2", "dinov2_with_registers"))
    model = build_model(folder, lambda: build_dinov2(config), targets=published_names("dinov2"))
    if num_layers is not None:
        if not 0 < num_layers <= len(model.encoder.layer):
            raise InputError(
                doing=f"loading the first layers of {folder}",
                found=f"{num_layers} of {len(model.encoder.layer)}",
                expected=f"1 to {len(model.encoder.layer)}",
                fix="Change num_layers, or leave it out.",
            )
        model.encoder.layer = model.encoder.layer[:num_layers]
    return Dinov2ImageEncoder(model, load_normalisation(folder), precision=precision).eval()


def build_dinov2(config: Mapping[str, Any]) -> Any:
    """Build transformers' network, with or without registers, without weights, from the fields of its config."""
    family = "Dinov2WithRegisters" if config["model_type"] == "dinov2_with_registers" else "Dinov2"
    return transformers_class(f"{family}Model")(transformers_class(f"{family}Config").from_dict(dict(config)))
