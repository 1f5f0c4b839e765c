"""PerPixelSegmenter: a class for every pixel, on the backbone and pixel decoder of SimFormer.

The row that every table of SimFormer is read beside: what the features and the number of steps give without
proposals, with the masks of all classes (the per-pixel baseline of Cheng et al., NeurIPS 2021).
"""

from dataclasses import replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ParameterGroup, Trainable
from lexiseg.core.loss_terms import LossTerms
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.closed_vocabulary import ClosedVocabularySegmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.maskformer import PerPixelClassifier, on_grid, padded


class PerPixelSegmenter(ClosedVocabularySegmenter, Trainable):
    """Learns from pixels with masks only; tags are not looked at.

    Args:
        network: With as many classes as the vocabulary.
        vocabulary: The classes.
        method: Only ``backbone_lr_factor`` is looked at.
        settings: Inference defaults.
        name: What the model is called.
    """

    measure = "log probability"

    def __init__(
        self,
        network: PerPixelClassifier,
        vocabulary: Vocabulary,
        *,
        method: SimFormerSettings,
        settings: InferenceSettings,
        name: str = "per-pixel classifier",
    ) -> None:
        super().__init__()
        assert network.num_classes == len(vocabulary), "the network has other classes than the vocabulary"
        self.network, self.vocabulary, self.method = network, vocabulary, method
        self.settings, self.name = settings, name
        self.method_settings = {"classifier": "pixels", "backbone_lr_factor": method.backbone_lr_factor}

    @property
    def stride(self) -> int:
        """Pixels per patch: those of a pixel of the logits."""
        return self.network.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Score every class at every patch; tokens ``B N K`` are log probabilities."""
        height, width = images.shape[-2:]
        logits = self.network(padded(images, self.network.size_divisor))
        return on_grid(logits.log_softmax(dim=1), (height // self.stride, width // self.stride), self.stride)

    def loss(self, batch: Batch) -> LossTerms:
        """Compute the cross-entropy of upsampled logits over all pixels with a mask; 0 where none has one."""
        assert batch.label_maps is not None, "a per-pixel classifier needs label maps"
        logits = self.network(batch.pixels())
        upsampled = F.interpolate(logits.float(), size=batch.label_maps.shape[-2:], mode="bilinear")
        total = F.cross_entropy(upsampled, batch.label_maps, ignore_index=IGNORE_INDEX, reduction="sum")
        labelled = (batch.label_maps != IGNORE_INDEX).sum().clamp(min=1)
        return LossTerms(terms={"classification": total / labelled}, weights={"classification": 1.0})

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the network's groups, with a slower backbone where the settings say so."""
        return [
            replace(
                group,
                parameters=[(f"network.{name}", parameter) for name, parameter in group.parameters],
                lr_factor=self.method.backbone_lr_factor
                if group.parameters[0][0].startswith("backbone.")
                else 1.0,
            )
            for group in self.network.parameter_groups()
        ]
