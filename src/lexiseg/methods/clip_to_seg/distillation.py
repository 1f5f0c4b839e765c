"""Distillation: all that a student is taught with. Used in training only."""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.data.partial_labels.distillation_batches import DistillationBatch
from lexiseg.layers.class_decoder import ClassDecoder
from lexiseg.losses.distillation import (
    VectorBank,
    condense,
    exclusive_loss,
    info_nce,
    non_exclusive_loss,
    text_space_loss,
)
from lexiseg.methods.clip_to_seg.fused_labels import FusedLabels, GridLabels, at_centres, fuse_batch
from lexiseg.methods.clip_to_seg.regions import (
    Regions,
    class_prototypes,
    encoded_vectors,
    find_regions,
    pooled_vectors,
    same_class,
    sums_over_regions,
    telling_regions,
)
from lexiseg.methods.clip_to_seg.settings import ClipToSegSettings
from lexiseg.methods.clip_to_seg.teacher import Teacher


class Distillation(nn.Module):
    """The losses, the bank and the decoder of nameless classes.

    Args:
        texts: Unit vectors of the seen classes, then of the unseen ones where training is transductive.
        num_seen: How many are seen.
        method: Which losses, of what.
        teacher: Looks at images; None where batches hold what it says of them. No part of the weights.
    """

    texts: Tensor

    def __init__(
        self,
        texts: Float[Tensor, "K D"],
        num_seen: int,
        method: ClipToSegSettings,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.method, self.num_seen = method, num_seen
        self._teacher = teacher
        self.register_buffer("texts", texts.clone(), persistent=False)
        dimensions = texts.shape[1]
        self.bank = VectorBank(method.bank, dimensions)
        self.decoder: ClassDecoder | None = None
        if method.masks != "none" and not method.transductive:  # or nothing is nameless
            self.decoder = ClassDecoder(
                dimensions,
                width=method.decoder_width,
                num_heads=method.decoder_heads,
                num_layers=method.decoder_layers,
            )
        if method.local == "reencoded" and method.local_weight and teacher is None:
            raise InputError(
                doing="setting up CLIP-to-Seg",
                found="regions to encode again, and a teacher that is not asked any more",
                expected="a teacher that looks at each batch, or regions pooled from its dense features",
                fix="Set method.local to pooled or none, or train on random crops (data.crop).",
            )

    def forward(
        self, maps: Float[Tensor, "B D h w"], batch: DistillationBatch, alpha: Float[Tensor, ""]
    ) -> tuple[dict[str, Float[Tensor, ""]], dict[str, Float[Tensor, ""]]]:
        """Compute the terms of the loss and what else is logged; remembers the image vectors in the bank.

        Args:
            maps: The student's embeddings, not normalised.
            batch: With label maps.
            alpha: Scale of the scores of named classes.
        """
        method = self.method
        features = self._features(batch)
        grid = _on_grid(batch, maps.shape[-2:])
        fused = fuse_batch(grid, features.maps, self.texts, self.num_seen, method)
        local = method.local_weight > 0 and method.local != "none"
        terms: dict[str, Tensor] = {}
        if method.global_weight:
            terms["global"] = self._global(maps, features.vectors, grid.padding)
        generated, classes = maps.new_zeros(0, maps.shape[1]), fused.labels.new_zeros(0)
        if local or self.decoder is not None:
            regions = find_regions(fused.labels)
            sums = sums_over_regions(maps, regions)
            if local:
                terms["local"] = self._local(sums, batch, features, regions)
            if self.decoder is not None:
                prototypes, classes = class_prototypes(sums, regions)
                generated = self._generated(self.decoder, prototypes, features.vectors)
                if method.text_space_weight:
                    seen = classes < self.num_seen
                    terms["text_space"] = text_space_loss(generated[seen], self.texts[classes[seen]])
        terms |= self._classification(maps, fused, generated, classes, alpha)
        # Where no class is in a batch, everything that is trained gets a gradient of zero all the same.
        last = next(reversed(terms))
        terms[last] = terms[last] + 0 * (generated.sum() + alpha)
        shown = ~grid.padding
        latent = (fused.labels >= fused.num_named) & (fused.labels < fused.num_named + _count(fused))
        observed = {
            "alpha": alpha.detach(),
            "latent_classes": maps.new_tensor(_count(fused) / len(fused.rows)),
            "mined_share": latent.sum() / shown.sum().clamp(min=1),
        }
        return terms, observed

    def _features(self, batch: DistillationBatch) -> "_Taught":
        if batch.teacher_maps is not None:
            assert batch.teacher_vectors is not None
            found = _Taught(batch.teacher_maps.detach(), batch.teacher_vectors.detach())
        else:
            assert self._teacher is not None, "neither a teacher nor what it says"
            looked: PatchFeatures = self._teacher.look(batch.pixels())
            assert looked.global_token is not None
            found = _Taught(looked.as_map().float(), looked.global_token.float())
        if found.vectors.shape[1] != self.texts.shape[1]:
            raise InputError(
                doing="training CLIP-to-Seg",
                found=f"a teacher whose vectors have length {found.vectors.shape[1]}",
                expected=f"length {self.texts.shape[1]}, as its texts and the student have",
                fix="Take the features, the texts and the student of one teacher.",
            )
        return found

    def _global(
        self,
        maps: Float[Tensor, "B D h w"],
        vectors: Float[Tensor, "B D"],
        padding: Bool[Tensor, "B h w"],
    ) -> Float[Tensor, ""]:
        method = self.method
        condensed = condense(maps, vectors, temperature=method.attention_temperature, excluded=padding)
        if method.bank_before_loss:
            self.bank.push(vectors)
            return info_nce(condensed, vectors, negatives=self.bank(), temperature=method.temperature)
        negatives = self.bank()
        # An image that is seen again within the bank's memory is not its own negative.
        again = (vectors[:, None] == negatives).all(dim=-1)
        excluded = torch.cat(
            [torch.zeros(len(vectors), len(vectors), device=again.device).bool(), again], dim=1
        )
        loss = info_nce(
            condensed, vectors, negatives=negatives, excluded=excluded, temperature=method.temperature
        )
        self.bank.push(vectors)
        return loss

    def _local(
        self,
        sums: Float[Tensor, "P D"],
        batch: DistillationBatch,
        features: "_Taught",
        regions: Regions,
    ) -> Float[Tensor, ""]:
        method = self.method
        if method.local == "reencoded":
            assert self._teacher is not None
            chosen = telling_regions(regions, method.max_regions)
            teachers = encoded_vectors(self._teacher, batch.pixels(), regions, chosen)
        else:
            chosen = telling_regions(regions)
            teachers = pooled_vectors(features.maps, regions)[chosen]
        students = sums[chosen] / regions.size[chosen, None]
        excluded = same_class(regions.label[chosen])
        return info_nce(students, teachers, excluded=excluded, temperature=method.temperature)

    def _generated(
        self, decoder: ClassDecoder, prototypes: Float[Tensor, "C D"], vectors: Float[Tensor, "B D"]
    ) -> Float[Tensor, "C D"]:
        memory = torch.cat([vectors.to(prototypes), self.bank().to(prototypes)])
        if len(prototypes):
            return decoder(prototypes, memory)
        return decoder(prototypes.new_zeros(1, prototypes.shape[1]), memory)[:0]

    def _classification(
        self,
        maps: Float[Tensor, "B D h w"],
        fused: FusedLabels,
        generated: Float[Tensor, "C D"],
        classes: Int64[Tensor, " C"],
        alpha: Float[Tensor, ""],
    ) -> dict[str, Float[Tensor, ""]]:
        """Score named classes by text, nameless ones by what was generated, each few images for themselves."""
        method = self.method
        units = normalize(maps.float(), dim=1)
        named = alpha * einsum(units, self.texts, "b d h w, k d -> b k h w")
        losses: dict[str, list[Tensor]] = {"non_exclusive": [], "exclusive": []}
        for (start, stop), (first, last) in zip(fused.rows, fused.latent, strict=True):
            own = normalize(generated[(classes >= first) & (classes < last)], dim=1)
            latent = method.beta * einsum(units[start:stop], own, "b d h w, k d -> b k h w")
            logits = torch.cat([named[start:stop], latent], dim=1)
            labels = fused.labels[start:stop]
            # Nameless classes follow the named ones, whatever came before them in the batch.
            labels = torch.where(
                (labels >= first) & (labels < last), labels - first + fused.num_named, labels
            )
            losses["non_exclusive"].append(
                non_exclusive_loss(logits, labels, focal=method.focal, dice=method.dice)
            )
            losses["exclusive"].append(exclusive_loss(logits, labels))
        used = {
            "non_exclusive": bool(method.focal or method.dice),
            "exclusive": bool(method.exclusive_weight),
        }
        return {name: torch.stack(parts).mean() for name, parts in losses.items() if used[name]}


class _Taught(NamedTuple):
    """What the teacher says: dense features and image vectors."""

    maps: Tensor
    vectors: Tensor


def _on_grid(batch: DistillationBatch, size: torch.Size) -> GridLabels:
    assert batch.label_maps is not None, "CLIP-to-Seg needs label maps, void where nothing is known"
    labels = at_centres(batch.label_maps, size)
    padding = torch.zeros_like(labels, dtype=torch.bool)
    if batch.padding is not None:
        padding = at_centres(batch.padding, size)
    truth = None if batch.truth is None else at_centres(batch.truth, size)
    return GridLabels(labels, padding, truth)


def _count(fused: FusedLabels) -> int:
    return sum(last - first for first, last in fused.latent)
