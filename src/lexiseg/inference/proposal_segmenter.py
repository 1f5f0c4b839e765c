"""ProposalSegmenter: masks with a class each; a pixel's scores are sums over them.

Semantic inference of Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic
Segmentation" (MaskFormer), NeurIPS 2021: the score of a class is the sum over proposals of class probability times
mask probability. Mask logits are upsampled to the image that the network saw, *then* squashed and summed, as
training judges them. Summed on the grid and upsampled afterwards, borders between classes come out blurred.
"""

from abc import ABC
from dataclasses import replace

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.explanation import Evidence
from lexiseg.core.features import PatchFeatures
from lexiseg.inference.closed_vocabulary import ClosedVocabularySegmenter
from lexiseg.inference.decision import Redecision
from lexiseg.inference.grounds import AskedPixel, Grounds, tokens_at, window_at
from lexiseg.inference.predict import Upsample
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.resize import resize_rows, source_rows

#: Masks that are told for a class.
_NUM_PROPOSALS = 3


class ProposalSegmenter(ClosedVocabularySegmenter, ABC):
    """A closed vocabulary whose ``encode_images`` gives mask logits, with ``proposals``, for patch tokens.

    Scores lie in [0, Q] for Q proposals; they are no probabilities.
    """

    measure = "class probability in masks"

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Sum over proposals on the grid: what refinement and whole images look at. Pixels are decided by more."""
        summed = features.tokens.sigmoid() @ _classes(features, embeddings)
        return rearrange(summed, "b (h w) s -> b s h w", h=features.grid[0])

    @property
    def upsample(self) -> Upsample:
        """Upsample mask logits, then squash and sum them."""
        return summed_masks

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell which proposals hold the pixel, and how much each adds to the scores of the winner and the runner-up."""
        grounds = super().grounds(asked)
        proposals = asked.encoded.features[window_at(asked.encoded, asked.point)[0]].proposals
        assert proposals is not None, "tokens that are no mask logits"
        masks = tokens_at(asked.encoded, asked.point).sigmoid()
        evidence = []
        for place in grounds.two_best(asked.place):
            rows = asked.class_names.embeddings[list(asked.rows_of(place))].float().cpu()
            of_class = (proposals.classes[0].float().cpu() @ rows.T).amax(1)
            parts = of_class * masks
            evidence += [
                Evidence(
                    kind="proposal",
                    name=f"mask {query + 1} of {len(parts)}: {float(of_class[query]):.2f} {asked.class_name(place)}, "
                    f"{float(masks[query]):.2f} here",
                    supports=asked.class_name(place),
                    value=float(parts[query]),
                    measure=self.measure,
                )
                for query in parts.topk(min(_NUM_PROPOSALS, len(parts))).indices.tolist()
            ]
        return replace(grounds, evidence=(*grounds.evidence, *evidence))

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Return both for a run by a threshold, whose store keeps the scores of the pixels themselves.

        Scores on the grid, which other runs would keep, do not decide as pixels are decided.
        """
        by_threshold = settings.background == "threshold"
        return frozenset({"threshold", "drop_background"}) if by_threshold else frozenset()


def summed_masks(
    features: PatchFeatures,
    embeddings: Float[Tensor, "S D"],
    size: tuple[int, int],
    rows: tuple[int, int],
) -> Float[Tensor, "S rows W"]:
    """Score names at the pixels of some rows: an ``Upsample``. Features of one image."""
    logits = rearrange(features.tokens, "1 (h w) q -> q h w", h=features.grid[0])
    first, stop = source_rows(logits.shape[1], size[0], rows)
    part = logits[:, first:stop]
    masks = resize_rows(part, size, rows, source=(first, logits.shape[1])).sigmoid_()
    return einsum(_classes(features, embeddings)[0], masks, "q s, q y x -> s y x")


def _classes(features: PatchFeatures, embeddings: Float[Tensor, "S D"]) -> Float[Tensor, "B Q S"]:
    """Choose the class probabilities that names stand for."""
    assert features.proposals is not None, "tokens that are no mask logits"
    return features.proposals.classes @ embeddings.T
