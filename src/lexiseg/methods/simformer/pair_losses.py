"""The losses on pairs of pixels: SimNet learns where masks are, and teaches where none are."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lexiseg.core.batch import Batch
from lexiseg.data.partial_labels.batches import TruthBatch
from lexiseg.layers.simnet import SimNet, as_teacher
from lexiseg.losses.similarity_transfer import (
    PairBalance,
    centred_cosine,
    distillation_loss,
    pair_targets,
    score_similarity,
    similarity_loss,
)
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.maskformer import MaskFormerOutput
from lexiseg.ops.pair_sampling import draw_labelled_points, draw_points, look_up


class PairLosses(nn.Module):
    """SimNet and what it needs. Used in training only.

    Args:
        embedding_width: Channels of the network's pixel embeddings.
        unseen: Labels of the classes without masks.
        method: Which pairs, how many, taught by whom.
    """

    unseen: Tensor

    def __init__(self, embedding_width: int, unseen: frozenset[int], method: SimFormerSettings) -> None:
        super().__init__()
        self.method = method
        self.simnet = SimNet(embedding_width)
        self.balance = PairBalance()
        self.register_buffer("unseen", torch.tensor(sorted(unseen), dtype=torch.int64), persistent=False)

    def forward(self, batch: Batch, output: MaskFormerOutput) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Compute the loss that SimNet learns by and the loss that it teaches by, from the last layer."""
        assert batch.label_maps is not None
        assert batch.tags is not None
        grid = output.pixel_embeddings.shape[-2:]
        labels = _on_grid(batch.label_maps, grid)
        padding = torch.zeros_like(labels, dtype=torch.bool)
        if batch.padding is not None:
            padding = _on_grid(batch.padding, grid)
        pairs = self._pairs(len(batch))
        learnt = self._similarity(output.pixel_embeddings, labels, batch.tags, padding, pairs)
        taught = self._distillation(batch, output, labels, padding, pairs)
        return learnt, taught

    def _pairs(self, num_images: int) -> "_Pairs":
        """Rows that are compared: 2p with 2p + 1, or every row with itself."""
        if self.method.pairs == "self":
            return _Pairs(slice(0, num_images), slice(0, num_images))
        assert num_images % 2 == 0, f"{num_images} images are no pairs"
        return _Pairs(slice(0, num_images, 2), slice(1, num_images, 2))

    def _similarity(
        self,
        embeddings: Float[Tensor, "B D h w"],
        labels: Int64[Tensor, "B P"],
        tags: Bool[Tensor, "B K"],
        padding: Bool[Tensor, "B P"],
        pairs: "_Pairs",
    ) -> Float[Tensor, ""]:
        if self.method.detached:
            embeddings = embeddings.detach()
        points = draw_labelled_points(
            labels[pairs.first],
            labels[pairs.second],
            self.method.num_points,
            num_classes=tags.shape[1],
            padding=torch.stack([padding[pairs.first], padding[pairs.second]]),
        )
        both = self._both_ways(points, pairs)
        first, second = (look_up(embeddings[rows], at) for rows, at in both)
        same, valid = pair_targets(
            *(labels[rows].gather(1, at) for rows, at in both),
            *(tags[rows] for rows, _ in both),
            unlabelled_differ=self.method.unlabelled_differ,
        )
        if self.method.pairs == "self" and not self.method.keeps_diagonal:
            valid = valid & (both[0][1][:, :, None] != both[1][1][:, None])
        return similarity_loss(self.simnet(first, second), same, valid, self.balance(same, valid))

    def _distillation(
        self,
        batch: Batch,
        output: MaskFormerOutput,
        labels: Int64[Tensor, "B P"],
        padding: Bool[Tensor, "B P"],
        pairs: "_Pairs",
    ) -> Float[Tensor, ""]:
        assert batch.tags is not None
        unlabelled = (labels >= batch.tags.shape[1]) & ~padding
        points = (
            draw_points(unlabelled[pairs.first], self.method.num_points, excluded=padding[pairs.first]),
            draw_points(unlabelled[pairs.second], self.method.num_points, excluded=padding[pairs.second]),
        )
        both = self._both_ways(points, pairs)
        scores = [self._scores(output, rows, at) for rows, at in both]
        teacher = self._teacher(batch, output, both)
        tagged, free = batch.tags[:, self.unseen], unlabelled.any(dim=1)
        (first, _), (second, _) = both
        active = (tagged[first] & tagged[second]).any(dim=1) & free[first] & free[second]
        student = score_similarity(scores[0], scores[0] if self.method.student_within_image else scores[1])
        return distillation_loss(teacher, student, active, self.method.form)

    @torch.no_grad()
    def _teacher(
        self, batch: Batch, output: MaskFormerOutput, both: "tuple[_Points, _Points]"
    ) -> Float[Tensor, "P I J"]:
        """Return how probable it is that pixels show the same class, by whoever teaches."""
        if self.method.teacher == "oracle":
            return _truth(batch, output, both)
        embeddings = [look_up(output.pixel_embeddings[rows], at) for rows, at in both]
        if self.method.teacher == "cosine":
            return centred_cosine(*embeddings)
        with as_teacher(self.simnet) as simnet:
            teacher = simnet(*embeddings).sigmoid()
        if self.method.teacher == "shuffled":
            order = torch.randperm(teacher[0].numel(), device=teacher.device)
            teacher = teacher.flatten(1)[:, order].view(teacher.shape)
        return teacher

    def _both_ways(self, points: tuple[Tensor, Tensor], pairs: "_Pairs") -> "tuple[_Points, _Points]":
        """Return rows and pixels of first and second image; images of two rows in both orders."""
        index = torch.arange(2 * len(points[0]), device=points[0].device)
        if self.method.pairs == "self":
            rows = index[pairs.first]
            return (rows, points[0]), (rows, points[0])
        first, second = index[pairs.first], index[pairs.second]
        return (
            (torch.cat([first, second]), torch.cat(points)),
            (torch.cat([second, first]), torch.cat(points[::-1])),
        )

    def _scores(
        self, output: MaskFormerOutput, rows: Int64[Tensor, " P"], points: Int64[Tensor, "P J"]
    ) -> Float[Tensor, "P J K"]:
        """Return what the student compares of pixels, without "no object"; only at the pixels that are asked for."""
        classes = output.class_logits[-1][rows].softmax(dim=-1)[..., :-1]
        masks = look_up(output.mask_logits[-1][rows], points)
        if self.method.student != "all":
            classes = classes[..., self.unseen]
        return (masks if self.method.student == "logits" else masks.sigmoid()) @ classes


class _Pairs(NamedTuple):
    first: slice
    second: slice


#: Rows of the batch, and pixels of each.
_Points = tuple[Tensor, Tensor]


def _on_grid(maps: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """Sample every map at the pixels nearest to the centres of a coarser grid, as one row an image."""
    rows, columns = (
        (2 * torch.arange(cells, device=maps.device) + 1) * size // (2 * cells)
        for size, cells in zip(maps.shape[-2:], grid, strict=True)
    )
    return rearrange(maps[:, rows[:, None], columns], "b h w -> b (h w)")


def _truth(batch: Batch, output: MaskFormerOutput, both: tuple[_Points, _Points]) -> Float[Tensor, "P I J"]:
    """Return the true similarity of pairs of pixels: 1, 0, or one half where either is void."""
    assert isinstance(batch, TruthBatch), "the oracle needs the truth in the batch (WeakShotSettings.truth)"
    labels = _on_grid(batch.truth, output.pixel_embeddings.shape[-2:])
    first, second = (labels[rows].gather(1, at) for rows, at in both)
    assert batch.tags is not None
    known = (first < batch.tags.shape[1])[:, :, None] & (second < batch.tags.shape[1])[:, None]
    return torch.where(known, (first[:, :, None] == second[:, None]).float(), 0.5)
