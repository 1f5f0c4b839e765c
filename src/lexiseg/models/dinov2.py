"""DINOv2: patch features from pictures alone, with or without registers.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Darcet et al.,
"Vision Transformers Need Registers", ICLR 2024. It knows no words: a region is compared with other
pictures. The tokens are the last block's, after the last layer norm.

Differences from transformers: the normalisation is inside, the registers are left out of the tokens, and
checkpoints are read in the names of either layout, also the one the hub has.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.models.checkpoint import build_model, fingerprint, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation

#: Parts that the hub's files call otherwise than transformers 5 does; two targets are one tensor's halves.
_HUB_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("attention.attention.query", ("attention.q_proj",)),
    ("attention.attention.key", ("attention.k_proj",)),
    ("attention.attention.value", ("attention.v_proj",)),
    ("attention.output.dense", ("attention.o_proj",)),
    ("mlp.weights_in", ("mlp.gate_proj", "mlp.up_proj")),
    ("mlp.weights_out", ("mlp.down_proj",)),
)


class Dinov2ImageEncoder(ImageEncoder):
    """DINOv2's vision transformer: one token a patch, not normalised. The global token is the class token.

    Args:
        vision: transformers' ``Dinov2Model`` or ``Dinov2WithRegistersModel``.
        normalisation: The checkpoint's pixel statistics.
    """

    def __init__(self, vision: Any, normalisation: PixelNormalisation) -> None:
        super().__init__()
        self.vision = vision
        self.normalisation = normalisation
        self.stride = int(vision.config.patch_size)
        self.num_registers = int(getattr(vision.config, "num_register_tokens", 0))

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the weights and the normalisation. Do not change the weights after asking."""
        return fingerprint(self, f"dinov2 {self.num_registers}")

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        tokens = self.vision(self.normalisation(images)).last_hidden_state
        return PatchFeatures(
            tokens=tokens[:, 1 + self.num_registers :],
            grid=(images.shape[2] // self.stride, images.shape[3] // self.stride),
            stride=self.stride,
            global_token=tokens[:, 0],
        )


def load_dinov2(folder: Path) -> Dinov2ImageEncoder:
    """Load any transformers DINOv2 checkpoint, with or without registers: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("dinov2", "dinov2_with_registers"))
    family = "Dinov2WithRegisters" if config["model_type"] == "dinov2_with_registers" else "Dinov2"
    config_class, model_class = transformers_class(f"{family}Config"), transformers_class(f"{family}Model")

    model = build_model(folder, lambda: model_class(config_class.from_dict(config)), targets=_targets)
    return Dinov2ImageEncoder(model, load_normalisation(folder)).eval()


def _targets(name: str) -> tuple[str, ...]:
    """Return the names of a file's tensor in the network; classifiers keep the network one level down."""
    name = re.sub(r"^dinov2(_with_registers)?\.", "", name)
    if name.startswith("classifier."):
        return ()
    for theirs, ours in _HUB_NAMES:
        if theirs in name:
            return tuple(name.replace(theirs, part) for part in ours)
    return (name,)
