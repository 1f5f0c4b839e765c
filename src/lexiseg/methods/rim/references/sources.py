"""What every source of reference images is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, UInt8

from lexiseg.core.errors import DatasetError, ImageError, LexisegError

#: A mask outside these shares of its image is not the object of a class but a speck, or all of it.
MIN_COVERAGE, MAX_COVERAGE = 0.01, 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceImage:
    """One image of a class, and where the object is in it.

    Attributes:
        image: RGB, 0..255.
        mask: The object.
        origin: Where it came from: a file's path below the source's folder, or a seed.
        has_scene: What is outside the mask is scenery, not an empty backdrop.
        mask_is_given: The mask came with the image; otherwise the object was found.
    """

    image: UInt8[np.ndarray, "H W 3"]
    mask: Bool[np.ndarray, "H W"]
    origin: str
    has_scene: bool = True
    mask_is_given: bool = False


@dataclass(frozen=True, kw_only=True)
class RejectedImage:
    """An image that shows no usable object.

    Attributes:
        origin: Where it came from.
        reason: Why, in words that are counted over the class.
        is_damaged: It, or its mask, could not be read.
    """

    origin: str
    reason: str
    is_damaged: bool = False


Drawn: TypeAlias = ReferenceImage | RejectedImage


def damaged_image(origin: str, error: Exception) -> RejectedImage:
    """Reject an image that, or whose mask, could not be read; the others of its class are still good."""
    if isinstance(error, LexisegError):
        reason = f"{error.found}; expected {error.expected}"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return RejectedImage(origin=origin, reason=reason, is_damaged=True)


#: What reading a damaged image raises.
DAMAGE = (ImageError, DatasetError, OSError, SyntaxError, ValueError)


class ReferenceSource(ABC):
    """Class names to images with object masks.

    Attributes:
        name: What ``--source`` is asked for by.
    """

    name: str

    def notes(self) -> list[str]:
        """Return what was met so far that a person should know of, a sentence each."""
        return []

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Return what decides the images, as plain values: model ids, hashes, thresholds. For the record."""

    @abstractmethod
    def content(self, class_name: str, count: int) -> str:
        """Describe, cheaply, what ``draw`` would give: equal texts mean equal images."""

    @abstractmethod
    def draw(self, class_name: str, count: int) -> Iterator[Drawn]:
        """Return up to ``count`` usable images of a class, and the rejected ones met on the way.

        The same call gives the same images again.
        """


def coverage_problem(mask: Bool[np.ndarray, "H W"]) -> str | None:
    """Return why a mask cannot be an object; None where it can."""
    share = float(mask.mean())
    if share < MIN_COVERAGE:
        return f"the object covers less than {MIN_COVERAGE:.0%} of the image"
    if share > MAX_COVERAGE:
        return f"the object covers more than {MAX_COVERAGE:.0%} of the image"
    return None
