"""PixelClassifierSegmenter: a published SegFormer, DPT or UperNet, asked with some or all of its own classes.

``models.pixel_classifier`` names the papers. A pixel's score of a class is its logit, upsampled once to the image.
"""

from jaxtyping import Float
from torch import Tensor

from lexiseg.core.features import PatchFeatures
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.closed_vocabulary import ClosedVocabularySegmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.maskformer import on_grid, padded
from lexiseg.models.pixel_classifier import PixelClassifier


class PixelClassifierSegmenter(ClosedVocabularySegmenter):
    """Class logits on the network's grid.

    Args:
        network: With as many classes as the vocabulary.
        vocabulary: Its classes.
        settings: Inference defaults.
        name: What the model is called.
    """

    scores_are_products = True
    measure = "logit"

    def __init__(
        self, network: PixelClassifier, vocabulary: Vocabulary, *, settings: InferenceSettings, name: str
    ) -> None:
        super().__init__()
        assert network.num_classes == len(vocabulary), "the network has other classes than the vocabulary"
        self.network, self.vocabulary = network, vocabulary
        self.settings, self.name = settings, name
        self.method_settings = {"weights": fingerprint(network)}

    @property
    def stride(self) -> int:
        """Pixels per position of the logits."""
        return self.network.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return the logits of all classes, ``B N K``; images are filled up to what the network divides by."""
        grid = images.shape[2] // self.stride, images.shape[3] // self.stride
        return on_grid(self.network(padded(images, self.network.size_divisor)), grid, self.stride)
