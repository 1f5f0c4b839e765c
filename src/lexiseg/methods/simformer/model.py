"""SimFormer: a MaskFormer whose unseen classes are trained by tags and by similarity.

After training it is a plain MaskFormer: nothing of the pair losses takes part in ``encode_images``.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.core.explanation import Evidence
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ParameterGroup, Trainable
from lexiseg.core.loss_terms import LossTerms
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.grounds import AskedPixel, Grounds
from lexiseg.inference.proposal_segmenter import ProposalSegmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.losses.complementary import ComplementaryLoss
from lexiseg.losses.set_prediction import (
    SetTargets,
    SetWeights,
    match_layers,
    multiple_instance_loss,
    set_losses,
)
from lexiseg.methods.simformer.pair_losses import PairLosses
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.maskformer import MaskFormer, MaskFormerOutput, proposal_features
from lexiseg.ops.matching import Assignment

#: Seen classes that are told for an unseen one.
_NUM_NEIGHBOURS = 3


def set_targets(batch: Batch, num_queries: int | None = None) -> list[SetTargets]:
    """List the classes with a mask, in the order of their labels, then those with a tag only.

    Args:
        batch: With label maps and tags.
        num_queries: Proposals an image; None for any number.

    Raises:
        InputError: An image has more classes than there are proposals.
    """
    assert batch.label_maps is not None, "SimFormer needs label maps"
    assert batch.tags is not None, "SimFormer needs tags"
    targets = [_targets(*labels) for labels in zip(batch.label_maps, batch.tags, strict=True)]
    for source, target in zip(batch.sources, targets, strict=True):
        if num_queries is not None and len(target.labels) > num_queries:
            raise InputError(
                doing=f"training with {source}",
                found=f"{len(target.labels)} classes",
                expected=f"at most {num_queries}, one for each proposal of the network",
                fix="Raise network.num_queries.",
            )
    return targets


def _targets(label_map: Int64[Tensor, "H W"], tags: Bool[Tensor, " K"]) -> SetTargets:
    labels = torch.unique(label_map)
    masked = labels[labels < len(tags)]
    tagged = tags.nonzero().flatten()
    return SetTargets(
        labels=torch.cat([masked, tagged]),
        masks=torch.cat(
            [label_map == masked[:, None, None], label_map.new_zeros((len(tagged), *label_map.shape)).bool()]
        ),
        has_mask=torch.cat([torch.ones_like(masked), torch.zeros_like(tagged)]).bool(),
    )


class SimFormer(ProposalSegmenter, Trainable):
    """A fixed vocabulary: words choose among the classes it was trained with.

    A pixel's score for a class is the sum over proposals of class probability times mask probability.

    Args:
        network: With as many classes as the vocabulary.
        vocabulary: Its ``seen`` classes have masks in training; all have where it is None.
        method: How it is trained.
        settings: Inference defaults.
        name: What the model is called.
    """

    def __init__(
        self,
        network: MaskFormer,
        vocabulary: Vocabulary,
        *,
        method: SimFormerSettings,
        settings: InferenceSettings,
        name: str = "simformer",
    ) -> None:
        super().__init__()
        assert network.num_classes == len(vocabulary), "the network has other classes than the vocabulary"
        self.network = network
        self.vocabulary = vocabulary
        self.method = method
        self.settings = settings
        self.name = name
        self.method_settings = asdict(method)
        self.complementary = ComplementaryLoss(
            gate=method.gate,
            gate_learnable=method.gate_learnable,
            padding_is_negative=method.padding_is_negative,
            focal_weight=method.focal,
            dice_weight=method.dice,
        )
        seen = frozenset(range(len(vocabulary))) if vocabulary.seen is None else vocabulary.seen
        unseen = frozenset(range(len(vocabulary))) - seen
        width = network.settings.width
        self.pair_losses = None if method.pairs == "none" else PairLosses(width, unseen, method)

    @property
    def stride(self) -> int:
        """Pixels per patch: those of a pixel of the mask logits."""
        return self.network.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return the mask logits of all proposals, ``B N Q``, with their class probabilities.

        Images are filled up at the bottom and the right to what the backbone divides by.
        """
        return proposal_features(self.network, images)

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Add to what proposals say the seen classes that an unseen winner is most like, by the rows of the class head."""
        grounds = super().grounds(asked)
        best = grounds.two_best(asked.place)[:1]
        own = self.vocabulary
        columns = (
            asked.class_names.embeddings[list(asked.rows_of(best[0]))].argmax(1).tolist() if best else []
        )
        if own.seen is None or not columns or columns[0] in own.seen:
            return grounds
        rows = F.normalize(self.network.class_head.weight[: len(own)].float().cpu(), dim=1)
        seen = sorted(own.seen)
        alike = rows[seen] @ rows[columns[0]]
        neighbours = tuple(
            Evidence(
                kind="seen class",
                name=own.names[seen[index]],
                supports=asked.class_name(best[0]),
                value=float(alike[index]),
                measure="cosine of class rows",
            )
            for index in alike.topk(min(_NUM_NEIGHBOURS, len(seen))).indices.tolist()
        )
        note = "The winner had no masks in training: what it is like is learnt from the seen classes nearest to it."
        return replace(grounds, evidence=(*grounds.evidence, *neighbours), notes=(*grounds.notes, note))

    def loss(self, batch: Batch) -> LossTerms:
        """Compute the losses of classes, masks, tags and pairs; rows ``2p`` and ``2p + 1`` are a pair."""
        output = self.network(batch.pixels())
        targets = set_targets(batch, self.network.settings.num_queries)
        method = self.method
        by_class = method.matching_classification
        weights = SetWeights(
            classification=method.classification if by_class is None else by_class,
            focal=method.focal,
            dice=method.dice,
        )
        assignments = match_layers(output.class_logits, output.mask_logits, targets, weights)
        losses = set_losses(
            output.class_logits, output.mask_logits, targets, assignments, no_object=method.no_object
        )
        terms = {
            "classification": losses.classification,
            "focal": losses.focal,
            "dice": losses.dice,
            "complementary": self._complementary(output, targets, assignments, batch),
        }
        if method.multiple_instance:
            terms["multiple_instance"] = multiple_instance_loss(output.class_logits, targets)
        if self.pair_losses is not None:
            terms["similarity"], terms["distillation"] = self.pair_losses(batch, output)
        return LossTerms(terms=terms, weights={name: getattr(method, name) for name in terms})

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the network's groups, with a slower backbone, and SimNet's."""
        groups = [
            ParameterGroup(
                parameters=[(f"network.{name}", parameter) for name, parameter in group.parameters],
                lr_factor=self.method.backbone_lr_factor if _is_of_backbone(group) else 1.0,
                decayed=group.decayed,
            )
            for group in self.network.parameter_groups()
        ]
        others = [item for item in self.named_parameters() if not item[0].startswith("network.")]
        for decayed in (True, False):
            # Normalisations and single numbers are not pulled towards zero.
            members = [item for item in others if (item[1].ndim > 1) == decayed]
            if members:
                groups.append(ParameterGroup(parameters=members, decayed=decayed))
        return groups

    def _complementary(
        self,
        output: MaskFormerOutput,
        targets: Sequence[SetTargets],
        assignments: Sequence[Sequence[Assignment]],
        batch: Batch,
    ) -> Float[Tensor, ""]:
        """Sum over the layers the mean over images that have tags; 0 where none has."""
        losses = []
        for row, target in enumerate(targets):
            if target.has_mask.all():
                continue
            tags = (~target.has_mask).cpu()
            # As many queries in every layer: each tag got one.
            queries = torch.stack([of_layer[row][0][tags[of_layer[row][1]]] for of_layer in assignments])
            layers = torch.arange(len(queries))[:, None]
            logits = output.mask_logits[layers, row, queries]
            # Sums over all pixels want full precision.
            upsampled = F.interpolate(logits.float(), size=target.masks.shape[-2:], mode="bilinear")
            padding = None if batch.padding is None else batch.padding[row]
            losses.append(self.complementary(upsampled, target.masks.any(dim=0), padding))
        if not losses:
            # Zero, with a gradient for all that this loss trains: devices wait for one another's.
            trained = [output.mask_logits, *self.complementary.parameters()]
            return torch.stack([each.sum() * 0 for each in trained]).sum()
        return torch.stack(losses).mean()


def _is_of_backbone(group: ParameterGroup) -> bool:
    return group.parameters[0][0].startswith("backbone.")
