"""From a batch to what the proposals of each image are matched with."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from lexiseg.core.batch import Batch
from lexiseg.core.errors import InputError
from lexiseg.losses.set_prediction import SetTargets


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
