"""Gradients of a batch: at once, accumulated over sub-batches, or cached (GradCache) for contrastive losses."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.batch import Batch
from lexiseg.core.interfaces import ContrastiveTrainable, Trainable
from lexiseg.engine.devices import Devices
from lexiseg.engine.seeding import seed_all
from lexiseg.engine.stages import Losses, Stages
from lexiseg.ops.gather import gather_batch

#: Makes the context that forward passes run in.
Autocast = Callable[[], AbstractContextManager]
#: Backpropagates a scalar; with fp16 it is scaled first.
Backward = Callable[[Tensor], None]


class Gradients(ABC):
    """How the gradients of a step are found.

    Args:
        model: What is trained; its parameters are replaced by their shards where the weights are sharded.
        devices: Where.
        sub_batch_size: Most samples at once on a device.
    """

    def __init__(self, model: Trainable, devices: Devices, sub_batch_size: int) -> None:
        self.module = devices.place(Stages(model))
        self.devices = devices
        self.sub_batch_size = sub_batch_size

    @abstractmethod
    def add(self, batch: Batch, seed_key: tuple[int, ...], autocast: Autocast, backward: Backward) -> Losses:
        """Add the gradients of a step to the parameters'; return its losses, without gradient.

        Args:
            batch: This device's share, still on the CPU.
            seed_key: What the step's random numbers are seeded with, the number of the sub-batch is added.
            autocast: Makes the context that forward passes run in.
            backward: Backpropagates a scalar.
        """

    def parts(self, batch: Batch) -> list[Callable[[], Batch]]:
        """Split a batch into parts that fit, each moved to the device when it is called for."""
        size = self.sub_batch_size
        starts = range(0, len(batch), size)
        stops = [min(start + size, len(batch)) for start in starts]
        return [partial(self._moved, batch, *ends) for ends in zip(starts, stops, strict=True)]

    def _moved(self, batch: Batch, start: int, stop: int) -> Batch:
        return batch.part(start, stop).to(self.devices.device)


class PlainGradients(Gradients):
    """Gradients of the mean of the sub-batches' losses, accumulated one sub-batch after the other."""

    def add(self, batch: Batch, seed_key: tuple[int, ...], autocast: Autocast, backward: Backward) -> Losses:
        """Add the gradients of a step to the parameters'; return its losses, without gradient."""
        parts = self.parts(batch)
        weights: list[float] = []
        found: list[Losses] = []
        for index, move in enumerate(parts):
            part = move()
            weights.append(len(part) / len(batch))
            seed_all(*seed_key, index)
            with self.devices.no_sync(self.module, index < len(parts) - 1):
                with autocast():
                    losses: Losses = self.module("loss", part)
                backward(losses.total * weights[-1] if len(parts) > 1 else losses.total)
            found.append(losses)
        return Losses.mean(found, weights)


class CachedContrastiveGradients(Gradients):
    """Exact gradients of a contrastive loss of the whole batch in the memory of a sub-batch (GradCache).

    Gradient caching, or decoupled gradient accumulation (Cui et al., "Contrastive Vision-Language Pre-training with Limited
    Resources", ECCV 2022; Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
    Setup", 2021): embed all parts without gradient; take the gradient of the loss with respect to every
    embedding; embed each part again, with the same random numbers, and backpropagate the product of
    embeddings and their gradients. Costs a second forward pass.
    """

    def add(self, batch: Batch, seed_key: tuple[int, ...], autocast: Autocast, backward: Backward) -> Losses:
        """Add the gradients of a step to the parameters'; return its losses, without gradient."""
        parts = self.parts(batch)
        halves: list[tuple[Tensor, Tensor]] = []
        for index, move in enumerate(parts):
            seed_all(*seed_key, index)
            with torch.no_grad(), autocast():  # contexts of their own: they remember what they have cast
                halves.append(self.module("embed", move()))
        images, texts = (gather_batch(torch.cat(rows)) for rows in zip(*halves, strict=True))

        compared = (images.requires_grad_(), texts.requires_grad_())
        with self.devices.no_sync(self.module, True):
            with autocast():
                losses: Losses = self.module("compare", compared)
            gradients = [
                self._share(gradient, len(batch)) for gradient in torch.autograd.grad(losses.total, compared)
            ]
        constant = (images.detach(), texts.detach())

        start = 0
        for index, move in enumerate(parts):
            part = move()
            rows = slice(start, start := start + len(part))
            is_last = index == len(parts) - 1
            seed_all(*seed_key, index)
            with self.devices.no_sync(self.module, not is_last):
                with autocast():
                    product = self.module(
                        "product",
                        part,
                        (gradients[0][rows], gradients[1][rows]),
                        constant if is_last else None,
                    )
                backward(product)
        return Losses.mean([losses], [1.0])

    def _share(self, gradient: Float[Tensor, "B D"], size: int) -> Float[Tensor, "b D"]:
        # Gradients of parameters are averaged over devices, but a device's rows are on that one only.
        start = self.devices.rank * size
        return gradient[start : start + size] * self.devices.world_size


def build_gradients(model: Trainable, devices: Devices, sub_batch_size: int | None, share: int) -> Gradients:
    """Choose how gradients are found: a contrastive model that does not fit at once is compared whole.

    Args:
        model: What is trained.
        devices: Where.
        sub_batch_size: Most samples at once on a device; None takes its whole share.
        share: Samples of a step on one device.
    """
    at_once = min(sub_batch_size or share, share)
    if at_once < share and isinstance(model, ContrastiveTrainable):
        return CachedContrastiveGradients(model, devices, at_once)
    return PlainGradients(model, devices, at_once)
