"""The mean and standard deviation a checkpoint wants its pixels normalised with."""

import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError
from lexiseg.models.checkpoint import read_json


class PixelNormalisation(nn.Module):
    """Subtract the mean and divide by the standard deviation, per channel.

    Args:
        mean: Mean of red, green and blue, in [0, 1].
        std: Standard deviation of red, green and blue, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Normalise RGB images in [0, 1]."""
        return (images - self.mean) / self.std


def load_normalisation(folder: Path) -> PixelNormalisation:
    """Read ``preprocessor_config.json``, or ``processor_config.json`` as transformers 5 writes it.

    Only the normalisation is taken: resizing is the same for all models here.

    Raises:
        CheckpointError: Neither file is there, or it has no usable mean and standard deviation.
    """
    file = "preprocessor_config.json"
    if (folder / file).exists() or not (folder / "processor_config.json").exists():
        settings = read_json(folder, file)
    else:
        file = "processor_config.json"
        settings = read_json(folder, file).get("image_processor") or {}
    if settings.get("do_normalize") is False:
        return PixelNormalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean, std = _colour(settings.get("image_mean")), _colour(settings.get("image_std"))
    if mean is None or std is None or min(std) <= 0:
        raise CheckpointError(
            doing=f"reading {folder / file}",
            found=f"image_mean {settings.get('image_mean')!r} and image_std {settings.get('image_std')!r}",
            expected="three numbers each, for red, green and blue; image_std above 0",
            fix="Take the file from the same place as the weights: a guess would spoil every result.",
        )
    return PixelNormalisation(mean, std)


def _colour(value: object) -> tuple[float, float, float] | None:
    match value:
        case [int() | float() as red, int() | float() as green, int() | float() as blue]:
            try:
                colour = float(red), float(green), float(blue)
            except OverflowError:  # JSON knows whole numbers of any length
                return None
            return colour if all(map(math.isfinite, colour)) else None
    return None
