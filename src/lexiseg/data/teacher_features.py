"""TeacherFeatures: what a teacher says of images, where it is not the pixels that it looks at."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float32


class TeacherFeatures(ABC):
    """What a teacher says of the images of a data set, by their number. Pure: equal calls give equal answers.

    Attributes:
        width: Length ``D`` of a vector.
        fingerprint: Hash of everything that the features follow from.
    """

    width: int
    fingerprint: str

    @abstractmethod
    def read(
        self, index: int, *, flipped: bool
    ) -> tuple[Float32[np.ndarray, "D h w"], Float32[np.ndarray, " D"]]:
        """Return the dense features and the image vector of an image, mirrored or as it is; not normalised."""
