"""MaskFormerSegmenter: a published MaskFormer, Mask2Former or OneFormer, asked with some or all of its own classes.

Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021, whose
semantic inference the successors share; ``models.mask2former`` names theirs.
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.features import PatchFeatures
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.proposal_segmenter import ProposalSegmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.maskformer import ProposalNetwork, proposal_features


class MaskFormerSegmenter(ProposalSegmenter):
    """Sums over proposals of class probability times mask probability.

    Args:
        network: With as many classes as the vocabulary.
        vocabulary: Its classes.
        settings: Inference defaults.
        name: What the model is called.
    """

    def __init__(
        self, network: ProposalNetwork, vocabulary: Vocabulary, *, settings: InferenceSettings, name: str
    ) -> None:
        super().__init__()
        assert network.num_classes == len(vocabulary), "the network has other classes than the vocabulary"
        self.network, self.vocabulary = network, vocabulary
        self.settings, self.name = settings, name
        self.method_settings = {"weights": fingerprint(cast(nn.Module, network))}

    @property
    def stride(self) -> int:
        """Pixels per patch: those of a pixel of the mask logits."""
        return self.network.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return the mask logits of all proposals, ``B N Q``, with their class probabilities."""
        return proposal_features(self.network, images)
