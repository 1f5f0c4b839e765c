"""Sample: one image and whatever labels it has."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16


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
