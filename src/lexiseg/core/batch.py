"""Sample: one image and whatever labels it has. Batch: several samples of one size, as a training step takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8, UInt16
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images of one size and whatever labels they have; words stay words, for the model to tokenise.

    Attributes:
        images: RGB, ``B 3 H W``, 0..255. ``pixels`` gives what an encoder takes.
        sources: Where each image came from, for messages.
        captions: One sentence an image.
        word_prompts: Further sentences, as many for each image, each with one thing that is said to be there.
        label_maps: Class index per pixel, ``B H W``, ``IGNORE_INDEX`` = void.
        tags: Whether each of ``K`` classes is said to be in the image, ``B K``.
        padding: True where a pixel was added to fill the image up, ``B H W``; None where none was.
    """

    images: UInt8[Tensor, "B 3 H W"]
    sources: tuple[str, ...]
    captions: tuple[str, ...] | None = None
    word_prompts: tuple[tuple[str, ...], ...] | None = None
    label_maps: Int64[Tensor, "B H W"] | None = None
    tags: Bool[Tensor, "B K"] | None = None
    padding: Bool[Tensor, "B H W"] | None = None

    def __post_init__(self) -> None:
        for name, value in self._given():
            assert len(value) == len(self.images), f"{name} does not fit the images"

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self) -> Float[Tensor, "B 3 H W"]:
        """Return the images as floating-point numbers in [0, 1]."""
        return self.images.float().div_(255)

    def part(self, start: int, stop: int) -> "Batch":
        """Return the samples from ``start`` up to ``stop``, without copying pixels."""
        return replace(self, **{name: value[start:stop] for name, value in self._given()})

    @classmethod
    def joined(cls, parts: Sequence["Batch"]) -> "Batch":
        """Return the samples of several batches of one size in order; a part without padding has none to show."""
        if len(parts) == 1:
            return parts[0]
        padded = any(part.padding is not None for part in parts)
        joined: dict[str, Any] = {}
        for name in (each.name for each in fields(cls)):
            values = [getattr(part, name) for part in parts]
            if name == "padding" and padded:
                values = [
                    torch.zeros(part.images[:, 0].shape, dtype=torch.bool) if value is None else value
                    for part, value in zip(parts, values, strict=True)
                ]
            if values[0] is not None:
                joined[name] = torch.cat(values) if isinstance(values[0], Tensor) else sum(values, ())
        return cls(**joined)

    @property
    def num_bytes(self) -> int:
        """Size of the tensors."""
        return sum(tensor.nbytes for _, tensor in self._tensors())

    def to(self, device: torch.device | str) -> "Batch":
        """Move the tensors to a device; from pinned memory without waiting."""
        return replace(self, **{name: t.to(device, non_blocking=True) for name, t in self._tensors()})

    def pin_memory(self) -> "Batch":
        """Copy the tensors to pinned memory, from which a GPU reads while the CPU works on."""
        return replace(self, **{name: tensor.pin_memory() for name, tensor in self._tensors()})

    def _given(self) -> list[tuple[str, Any]]:
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in values if value is not None]

    def _tensors(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in self._given() if isinstance(value, Tensor)]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image with any of: label map, image tags, captions.

    Attributes:
        image: RGB, ``H W 3``, 0..255.
        source: File the image came from.
        label_map: Class index per pixel, ``H W``, 65535 = void; None where there are no masks.
        tags: Class indices said to be in the image; None where nobody tagged it.
        captions: Sentences about the image.
    """

    image: UInt8[np.ndarray, "H W 3"]
    source: Path
    label_map: UInt16[np.ndarray, "H W"] | None = None
    tags: frozenset[int] | None = None
    captions: tuple[str, ...] = field(default=())
